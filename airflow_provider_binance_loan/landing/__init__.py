"""Landing: records written to objects, whole or not at all."""
