import java.io.FileInputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;

/**
 * A producer and a consumer that run until standard input ends, and then say in JSON what became of the records.
 *
 * <p>{@code Load PROPERTIES TOPIC RATE REMAKE PATIENCE}: records a second, seconds after which the clients are made
 * anew (0 for never), and seconds for which records that were sent are waited for at the end. The properties are read
 * again by each new client. A line {@code flowing} is printed when the first record has come back, a line {@code
 * failing} when the first one is refused.
 */
public final class Load {
  private static final int ERRORS_KEPT = 5;

  private final String properties;
  private final String topic;
  private final long period;
  private final long remake;
  private final long patience;

  private volatile boolean stopping;
  private volatile boolean produced;
  private volatile boolean acknowledged;
  private final Set<Long> sent = ConcurrentHashMap.newKeySet();
  private final Set<Long> failed = ConcurrentHashMap.newKeySet();
  private final Map<Long, String> read = new HashMap<>();
  private final List<String> errors = new ArrayList<>();
  private long slowest;
  private long doubled;
  private long reread;
  private int made;
  private int readFailures;

  private Load(String properties, String topic, double rate, double remake, double patience) {
    this.properties = properties;
    this.topic = topic;
    this.period = (long) (1e9 / rate);
    this.remake = (long) (remake * 1e9);
    this.patience = (long) (patience * 1e9);
  }

  public static void main(String[] arguments) throws Exception {
    double[] numbers = Arrays.stream(arguments).skip(2).mapToDouble(Double::parseDouble).toArray();
    Load load = new Load(arguments[0], arguments[1], numbers[0], numbers[1], numbers[2]);
    Thread producer = new Thread(load::produce, "producer");
    Thread consumer = new Thread(load::consume, "consumer");
    producer.start();
    consumer.start();
    while (System.in.read() >= 0) {
      // It ends when nobody wants the load any more.
    }
    load.stopping = true;
    producer.join();
    consumer.join();
    System.out.println(load.report());
  }

  private void produce() {
    long number = 0;
    long next = System.nanoTime();
    while (!stopping) {
      try (KafkaProducer<Long, Long> producer = new KafkaProducer<>(settings(
          Map.of("acks", "all", "enable.idempotence", "true")), new LongSerializer(), new LongSerializer())) {
        countMade();
        long ends = System.nanoTime() + remake;
        while (!stopping && (remake == 0 || System.nanoTime() < ends)) {
          send(producer, number++);
          next = Math.max(next + period, System.nanoTime() - 1_000_000_000L);
          sleepUntil(next);
        }
        producer.flush();
      } catch (RuntimeException | IOException error) {
        note("producer", error);
        sleepUntil(System.nanoTime() + 100_000_000L);
      }
    }
    produced = true;
  }

  private void send(KafkaProducer<Long, Long> producer, long number) {
    long began = System.nanoTime();
    try {
      producer.send(new ProducerRecord<>(topic, number, number), (place, error) -> {
        if (error == null) {
          sent.add(number);
          acknowledged = true;
          took(System.nanoTime() - began);
        } else {
          fail(number, error);
        }
      });
    } catch (RuntimeException error) {
      fail(number, error);
    }
  }

  private void fail(long number, Exception error) {
    if (failed.isEmpty()) {
      System.out.println("failing");
    }
    failed.add(number);
    note("send", error);
  }

  private void consume() {
    while (!acknowledged && !produced) {
      sleepUntil(System.nanoTime() + 10_000_000L); // there is no topic yet
    }
    // With an id of its own it takes the place of the one before: a member that could not take its leave, because the
    // broker was down, is waited for otherwise.
    Map<String, String> own = Map.of(
        "group.id", topic,
        "group.instance.id", topic,
        "auto.offset.reset", "earliest",
        "enable.auto.commit", "false",
        "max.poll.records", "2000");
    long last = Long.MAX_VALUE;
    while (!done(last)) {
      try (KafkaConsumer<Long, Long> consumer =
          new KafkaConsumer<>(settings(own), new LongDeserializer(), new LongDeserializer())) {
        countMade();
        consumer.subscribe(List.of(topic));
        long ends = System.nanoTime() + remake;
        while (!done(last) && (remake == 0 || produced || System.nanoTime() < ends)) {
          for (ConsumerRecord<Long, Long> record : consumer.poll(Duration.ofMillis(100))) {
            count(record);
          }
          if (produced && last == Long.MAX_VALUE) {
            last = System.nanoTime() + patience;
          }
        }
        consumer.commitSync();
      } catch (RuntimeException | IOException error) {
        readFailures++;
        note("consumer", error);
        sleepUntil(System.nanoTime() + 100_000_000L);
        if (produced && last == Long.MAX_VALUE) {
          last = System.nanoTime() + patience;
        }
      }
    }
  }

  /** Tell whether all that was acknowledged has been read, or is not going to be. */
  private boolean done(long last) {
    return produced && (read.keySet().containsAll(sent) || System.nanoTime() > last);
  }

  private void count(ConsumerRecord<Long, Long> record) {
    if (read.isEmpty()) {
      System.out.println("flowing");
    }
    String place = record.partition() + ":" + record.offset();
    String before = read.putIfAbsent(record.value(), place);
    if (place.equals(before)) {
      reread++; // the group had not committed it: one record, read twice
    } else if (before != null) {
      doubled++;
    }
  }

  private Map<String, Object> settings(Map<String, String> own) throws IOException {
    Properties given = new Properties();
    try (FileInputStream file = new FileInputStream(properties)) {
      given.load(file);
    }
    Map<String, Object> all = new HashMap<>(own);
    for (String key : given.stringPropertyNames()) {
      all.put(key, given.getProperty(key));
    }
    return all;
  }

  private synchronized void countMade() {
    made++;
  }

  private synchronized void took(long nanoseconds) {
    slowest = Math.max(slowest, nanoseconds);
  }

  private synchronized void note(String where, Throwable error) {
    if (errors.size() < ERRORS_KEPT) {
      errors.add(where + ": " + error);
    }
  }

  private static void sleepUntil(long moment) {
    long left = moment - System.nanoTime();
    if (left > 0) {
      try {
        Thread.sleep(left / 1_000_000, (int) (left % 1_000_000));
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private synchronized String report() {
    long lost = sent.stream().filter(number -> !read.containsKey(number)).count();
    String told = errors.stream()
        .map(error -> '"' + error.replaceAll("[\\\\\"\\p{Cntrl}]", " ") + '"').collect(Collectors.joining(", "));
    return String.format(
        java.util.Locale.ROOT,
        "{\"sent\": %d, \"failed\": %d, \"read\": %d, \"lost\": %d, \"doubled\": %d, \"reread\": %d,"
            + " \"read_failures\": %d, \"made\": %d, \"slowest\": %.3f, \"errors\": [%s]}",
        sent.size(), failed.size(), read.size(), lost, doubled, reread, readFailures, made, slowest / 1e9, told);
  }
}
