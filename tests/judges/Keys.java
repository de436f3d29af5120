import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import javax.crypto.Cipher;
import javax.crypto.EncryptedPrivateKeyInfo;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;

/**
 * Reads and writes stores and keys as Java does; one request a line, its words apart by tabs, one answer a line.
 *
 * <pre>
 * store TYPE PATH PASSWORD          entries apart by tabs: alias|kind|made at (ms)|fingerprints,…|signs
 * pem PATH PASSWORD                 the algorithm of an encrypted key in PEM, read with Kafka's own steps
 * make TYPE PATH PASSWORD ENTRY…    alias|password of the key|PKCS#8 file|certificates file, or alias|certificates file
 * </pre>
 */
public final class Keys {
    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] words = line.split("\t", -1);
            String answer;
            try {
                answer = switch (words[0]) {
                    case "store" -> store(words[1], Path.of(words[2]), words[3].toCharArray());
                    case "pem" -> pem(Path.of(words[1]), words[2].toCharArray());
                    case "make" -> make(words);
                    default -> throw new IllegalArgumentException(words[0]);
                };
            } catch (Exception error) {
                answer = "error\t" + error;
            }
            System.out.write((answer.replace('\n', ' ') + "\n").getBytes(StandardCharsets.UTF_8));
        }
        System.out.flush();
    }

    private static String store(String type, Path path, char[] password) throws Exception {
        KeyStore store = KeyStore.getInstance(type);
        try (InputStream content = Files.newInputStream(path)) {
            store.load(content, password);
        }
        List<String> answers = new ArrayList<>();
        for (String alias : Collections.list(store.aliases())) {
            boolean trusted = store.isCertificateEntry(alias);
            Certificate[] chain =
                    trusted ? new Certificate[] {store.getCertificate(alias)} : store.getCertificateChain(alias);
            List<String> prints = new ArrayList<>();
            for (Certificate one : chain) {
                byte[] print = MessageDigest.getInstance("SHA-256").digest(one.getEncoded());
                prints.add(HexFormat.of().formatHex(print));
            }
            String kind = trusted ? "trusted" : "key";
            String signs = trusted ? "" : String.valueOf(signs(store.getKey(alias, password), chain[0]));
            long made = store.getCreationDate(alias).getTime();
            answers.add(String.join("|", alias, kind, String.valueOf(made), String.join(",", prints), signs));
        }
        return String.join("\t", answers);
    }

    private static boolean signs(Key key, Certificate leaf) throws Exception {
        String name = switch (key.getAlgorithm()) {
            case "RSA" -> "SHA256withRSA";
            case "EC" -> "SHA256withECDSA";
            default -> "Ed25519";
        };
        Signature signature = Signature.getInstance(name);
        signature.initSign((PrivateKey) key);
        signature.update(new byte[] {1, 2, 3});
        byte[] signed = signature.sign();
        signature.initVerify(leaf.getPublicKey());
        signature.update(new byte[] {1, 2, 3});
        return signature.verify(signed);
    }

    private static String pem(Path path, char[] password) throws Exception {
        String text = Files.readString(path).replaceAll("-----[A-Z ]+-----|\\s", "");
        EncryptedPrivateKeyInfo locked = new EncryptedPrivateKeyInfo(Base64.getDecoder().decode(text));
        SecretKeyFactory factory = SecretKeyFactory.getInstance(locked.getAlgName());
        Cipher cipher = Cipher.getInstance(locked.getAlgName());
        cipher.init(Cipher.DECRYPT_MODE, factory.generateSecret(new PBEKeySpec(password)), locked.getAlgParameters());
        PKCS8EncodedKeySpec spec = locked.getKeySpec(cipher);
        for (String name : List.of("RSA", "DSA", "EC")) {
            try {
                return KeyFactory.getInstance(name).generatePrivate(spec).getAlgorithm();
            } catch (InvalidKeySpecException error) {
                continue;
            }
        }
        throw new InvalidKeySpecException("Private key could not be loaded");
    }

    private static String make(String[] words) throws Exception {
        KeyStore store = KeyStore.getInstance(words[1]);
        store.load(null, null);
        for (int number = 4; number < words.length; number++) {
            String[] entry = words[number].split("\\|");
            try (InputStream content = Files.newInputStream(Path.of(entry[entry.length - 1]))) {
                Certificate[] chain = CertificateFactory.getInstance("X.509")
                        .generateCertificates(content)
                        .toArray(new Certificate[0]);
                if (entry.length == 2) {
                    store.setCertificateEntry(entry[0], chain[0]);
                    continue;
                }
                PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(entry[2])));
                Key key = KeyFactory.getInstance(chain[0].getPublicKey().getAlgorithm()).generatePrivate(spec);
                store.setKeyEntry(entry[0], key, entry[1].toCharArray(), chain);
            }
        }
        try (OutputStream content = Files.newOutputStream(Path.of(words[2]))) {
            store.store(content, words[3].toCharArray());
        }
        return "";
    }
}
