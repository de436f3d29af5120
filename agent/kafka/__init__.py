"""The agent's own client of Kafka clusters; confluent-kafka is imported when the first login is made."""
