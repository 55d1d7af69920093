"""What a model wrote → what it says: completion, answer, segments. Rewards and evaluation read alike."""
