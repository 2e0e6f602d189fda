"""The demo: a real platform, a real fault, and a judgement against the truth."""
