"""The configuration of those who read an identity's files: Kafka's clients and brokers. Text, no files, no clock."""
