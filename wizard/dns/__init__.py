"""DNS providers: who serves the zone. One module each behind one protocol."""
