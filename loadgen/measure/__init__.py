"""What is measured and how it is kept; knows nothing of Locust or of sockets."""
