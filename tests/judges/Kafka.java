import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Stream;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.internals.BrokerSecurityConfigs;
import org.apache.kafka.common.network.ChannelBuilder;
import org.apache.kafka.common.network.ChannelBuilders;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.JaasContext;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.security.authenticator.CredentialCache;
import org.apache.kafka.common.security.ssl.DefaultSslEngineFactory;
import org.apache.kafka.common.security.ssl.SslFactory;
import org.apache.kafka.common.security.ssl.SslPrincipalMapper;
import org.apache.kafka.common.security.token.delegation.internals.DelegationTokenCache;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.Time;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.boot.context.properties.bind.PropertySourcesPlaceholdersResolver;
import org.springframework.boot.context.properties.source.ConfigurationPropertySources;
import org.springframework.boot.env.YamlPropertySourceLoader;
import org.springframework.boot.kafka.autoconfigure.KafkaProperties;
import org.springframework.core.env.PropertySource;
import org.springframework.core.env.StandardEnvironment;
import org.springframework.core.io.FileSystemResource;

/**
 * Reads configurations as Kafka's brokers and clients do, and lets two of them shake hands.
 *
 * A request is a line of words with tabs between them, its answer a line of JSON; an "error" holds the messages of the
 * exception and of its causes. A configuration that ends in .yml is an application.yml, read by Spring Boot.
 *
 * values FILE                       what the file's own reader finds in it
 * client FILE                       the stores that a client takes in
 * server FILE LISTENER PROTOCOL     the stores that a broker's listener takes in, and what it asks of clients
 * handshake CLIENT FILE LISTENER HOST   client and listener over TCP; the client asks for HOST
 * connect CLIENT HOST PORT          the client, with a server that is no Java
 * names FILE                        what Java prints of subjects: a line for each certificate, its DER in hex
 * principals FILE                   what a broker makes of names: a line for each set of rules, and the names behind
 *                                   it, all in hex with tabs between them
 * replaced FILE                     what is replaced in texts: a line with pattern, replacement and text, in hex too
 */
public final class Kafka {
    private static final String JAAS =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"one\" password=\"two\";";
    private static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            Map<String, Object> answer;
            try {
                answer = answer(line.split("\t"));
            } catch (Exception error) {
                answer = Map.of("error", messages(error));
            }
            answers.println(json(answer));
        }
    }

    private static Map<String, Object> answer(String[] words) throws Exception {
        switch (words[0]) {
            case "values":
                return new TreeMap<>(values(words[1]));
            case "client":
                return stores(client(words[1]));
            case "server":
                SslFactory server = server(words[1], words[2], words[3]);
                Map<String, Object> told = stores(server);
                told.putAll(asked(server.createSslEngine("127.0.0.1", 1)));
                return told;
            case "handshake":
                return handshake(client(words[1]), server(words[2], words[3], "SSL"), words[4]);
            case "connect":
                return connect(client(words[1]), words[2], Integer.parseInt(words[3]));
            case "names":
                List<String> names = new ArrayList<>();
                for (String line : Files.readAllLines(Path.of(words[1])))
                    names.add(name(HexFormat.of().parseHex(line)));
                return Map.of("names", names);
            case "principals":
                return Map.of("principals", texts(words[1]).map(Kafka::principals).toList());
            case "replaced":
                return Map.of("replaced",
                    texts(words[1]).map(texts -> texts.get(2).replaceAll(texts.get(0), texts.get(1))).toList());
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static Map<String, Object> values(String file) throws Exception {
        return file.endsWith(".yml") ? spring(file) : properties(file);
    }

    private static Map<String, Object> properties(String file) throws Exception {
        Properties read = new Properties();
        try (InputStream stream = Files.newInputStream(Path.of(file))) {
            read.load(stream);
        }
        Map<String, Object> values = new HashMap<>();
        read.forEach((key, value) -> values.put((String) key, value));
        return values;
    }

    /** What Spring Boot passes to Kafka's client, with its placeholders resolved as in an application. */
    private static Map<String, Object> spring(String file) throws Exception {
        StandardEnvironment environment = new StandardEnvironment();
        for (PropertySource<?> source : new YamlPropertySourceLoader().load("file", new FileSystemResource(file)))
            environment.getPropertySources().addFirst(source);
        Binder binder = new Binder(ConfigurationPropertySources.get(environment),
            new PropertySourcesPlaceholdersResolver(environment));
        Map<String, Object> values =
            binder.bind("spring.kafka", Bindable.of(KafkaProperties.class)).get().buildAdminProperties();
        values.remove("bootstrap.servers");
        values.replaceAll((key, value) -> value.toString());
        return values;
    }

    private static SslFactory client(String file) throws Exception {
        Map<String, Object> values = values(file);
        values.put("bootstrap.servers", "localhost:1");
        values.put("sasl.mechanism", "PLAIN");
        values.put("sasl.jaas.config", JAAS);
        AdminClientConfig config = new AdminClientConfig(values);
        SecurityProtocol protocol = SecurityProtocol.forName(config.getString("security.protocol"));
        return factory(ChannelBuilders.clientChannelBuilder(protocol, JaasContext.Type.CLIENT, config, null, "PLAIN",
            Time.SYSTEM, new LogContext()));
    }

    private static SslFactory server(String file, String listener, String protocol) throws Exception {
        Map<String, Object> values = properties(file);
        ListenerName name = new ListenerName(listener);
        values.put("sasl.enabled.mechanisms", "PLAIN");
        values.put(name.configPrefix() + "plain.sasl.jaas.config", JAAS);
        AbstractConfig config = new AbstractConfig(BrokerSecurityConfigs.CONFIG_DEF, values);
        return factory(ChannelBuilders.serverChannelBuilder(name, false, SecurityProtocol.forName(protocol), config,
            new CredentialCache(), new DelegationTokenCache(List.of("PLAIN")), Time.SYSTEM, new LogContext(),
            version -> null));
    }

    private static SslFactory factory(ChannelBuilder builder) throws Exception {
        var field = builder.getClass().getDeclaredField("sslFactory");
        field.setAccessible(true);
        return (SslFactory) field.get(builder);
    }

    private static Map<String, Object> stores(SslFactory factory) throws Exception {
        Map<String, Object> told = new TreeMap<>();
        KeyStore keys = factory.sslEngineFactory().keystore();
        if (keys != null)
            for (String alias : Collections.list(keys.aliases())) {
                told.put("alias", alias);
                told.put("chain", subjects(keys.getCertificateChain(alias)));
            }
        KeyStore anchors = factory.sslEngineFactory().truststore();
        if (anchors != null) {
            List<Certificate> found = new ArrayList<>();
            for (String alias : Collections.list(anchors.aliases()))
                found.add(anchors.getCertificate(alias));
            told.put("anchors", subjects(found.toArray(new Certificate[0])));
        }
        return told;
    }

    private static Map<String, Object> asked(SSLEngine engine) {
        String auth = engine.getNeedClientAuth() ? "required" : engine.getWantClientAuth() ? "requested" : "none";
        return Map.of("client_auth", auth, "protocols", Arrays.asList(engine.getEnabledProtocols()), "ciphers",
            Arrays.asList(engine.getEnabledCipherSuites()));
    }

    private static Map<String, Object> handshake(SslFactory client, SslFactory server, String host) throws Exception {
        SSLParameters parameters = server.createSslEngine("127.0.0.1", 1).getSSLParameters();
        try (ServerSocket plain = context(server).getServerSocketFactory()
                .createServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            SSLServerSocket listening = (SSLServerSocket) plain;
            listening.setSSLParameters(parameters);
            Future<String> seen = THREADS.submit(() -> {
                try (SSLSocket accepted = (SSLSocket) listening.accept()) {
                    accepted.setSoTimeout(10_000);
                    accepted.startHandshake();
                    accepted.getOutputStream().write(1);
                    String peer = peer(accepted.getSession());
                    accepted.getInputStream().read();
                    return peer;
                }
            });
            Map<String, Object> told;
            try {
                told = connect(client, host, listening.getLocalPort());
            } catch (SSLException error) {
                // Who turned the other one down is told by either side's words.
                try {
                    seen.get(10, TimeUnit.SECONDS);
                } catch (Exception other) {
                    error.addSuppressed(other);
                }
                throw error;
            }
            told.put("client", seen.get(10, TimeUnit.SECONDS));
            return told;
        }
    }

    private static Map<String, Object> connect(SslFactory client, String host, int port) throws Exception {
        SSLParameters parameters = client.createSslEngine(host, port).getSSLParameters();
        Socket plain = new Socket(InetAddress.getByName("127.0.0.1"), port);
        try (SSLSocket socket = (SSLSocket) context(client).getSocketFactory().createSocket(plain, host, port, true)) {
            socket.setSoTimeout(10_000);
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            // In TLS 1.3 the server judges the client after the client's handshake is over; this byte says that it did.
            socket.getInputStream().read();
            Map<String, Object> told = new TreeMap<>();
            told.put("protocol", socket.getSession().getProtocol());
            told.put("server", peer(socket.getSession()));
            socket.getOutputStream().write(1);
            return told;
        }
    }

    private static javax.net.ssl.SSLContext context(SslFactory factory) {
        return ((DefaultSslEngineFactory) factory.sslEngineFactory()).sslContext();
    }

    private static String peer(SSLSession session) {
        try {
            return session.getPeerPrincipal().getName();
        } catch (SSLPeerUnverifiedException nobody) {
            return "ANONYMOUS";
        }
    }

    private static List<String> subjects(Certificate[] certificates) {
        List<String> names = new ArrayList<>();
        for (Certificate certificate : certificates)
            names.add(((X509Certificate) certificate).getSubjectX500Principal().getName());
        return names;
    }

    private static String messages(Throwable error) {
        List<String> all = new ArrayList<>();
        for (Throwable one = error; one != null; one = one.getCause())
            all.add(one.toString());
        for (Throwable one : error.getSuppressed())
            all.add(messages(one));
        return String.join(" <- ", all);
    }

    private static String name(byte[] der) throws Exception {
        Certificate read = CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(der));
        return ((X509Certificate) read).getSubjectX500Principal().getName();
    }

    private static Stream<List<String>> texts(String file) throws Exception {
        return Files.readAllLines(Path.of(file)).stream().map(line -> Arrays.stream(line.split("\t", -1))
            .map(hex -> new String(HexFormat.of().parseHex(hex), StandardCharsets.UTF_8)).toList());
    }

    /** Why the broker does not start, or what it makes of each name: a principal, or the words of what it throws. */
    private static Map<String, Object> principals(List<String> rulesAndNames) {
        SslPrincipalMapper mapper;
        try {
            mapper = SslPrincipalMapper.fromRules(rulesAndNames.get(0));
        } catch (IllegalArgumentException error) {
            return Map.of("invalid", error.getMessage(), "pattern", error instanceof PatternSyntaxException);
        }
        List<Object> told = new ArrayList<>();
        for (String name : rulesAndNames.subList(1, rulesAndNames.size()))
            try {
                told.add(Map.of("principal", mapper.getName(name)));
            } catch (Exception error) {
                told.add(Map.of("error", error.getMessage()));
            }
        return Map.of("mapped", told);
    }

    private static String json(Object value) {
        if (value instanceof Boolean)
            return value.toString();
        if (value instanceof Map<?, ?> map) {
            List<String> pairs = new ArrayList<>();
            map.forEach((key, each) -> pairs.add(json(key) + ":" + json(each)));
            return "{" + String.join(",", pairs) + "}";
        }
        if (value instanceof List<?> list)
            return "[" + String.join(",", list.stream().map(Kafka::json).toList()) + "]";
        StringBuilder text = new StringBuilder("\"");
        for (char unit : value.toString().toCharArray()) {
            if (unit < ' ' || unit == '"' || unit == '\\' || unit > '~')
                text.append(String.format("\\u%04x", (int) unit));
            else
                text.append(unit);
        }
        return text.append('"').toString();
    }
}
