"""What Skerry promises of its speed, measured beside yardsticks started here. The product imports nothing of it."""
