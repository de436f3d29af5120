/**
 * A node of Kafka that ends at once when the process that started it has gone.
 *
 * <p>Its standard input is a pipe that nobody writes to: it ends when its other end does, killed or not.
 */
public final class Node {
  private Node() {}

  /** Start a node with the path of its server.properties. */
  public static void main(String[] arguments) throws Exception {
    Thread lifeline = new Thread(Node::endWithParent, "lifeline");
    lifeline.setDaemon(true);
    lifeline.start();
    kafka.Kafka.main(arguments);
  }

  private static void endWithParent() {
    try {
      while (System.in.read() >= 0) {
        // Nothing is said there.
      }
    } catch (java.io.IOException gone) {
      // As good as its end.
    }
    Runtime.getRuntime().halt(1);
  }
}
