"""Floor 0: values and rules. No file, socket, thread, clock or random source here."""
