"""What several tests share: a running gateway, what a test needs from the machine."""
