"""`verify cuts --guest hostile`: every chip driven with random and with valid sequences."""
