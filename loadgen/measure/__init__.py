"""Takes measurements and stores them; independent of Locust and of sockets."""
