"""New rows and new answers by chat models and by people: evolve.*, answer.*, load.magpie, score.pass_rate."""
