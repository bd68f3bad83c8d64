"""Tags and scores by a chat model: tag.instag, tag.judge, score.judge, score.complexity, score.quality, score.joint,
score.token_expectation, score.select_it, score.reward.
"""
