"""The fence around upstream: every name of transformers and TRL that they do not promise to keep.

The rest of the library imports such names from `upstream.of_transformers`, `upstream.of_trl` and so on, never from
upstream itself (a test looks). `contract` lists what each override of ours relies on. It is checked when a
trainer is built, and by tests/system/test_upstream.py: an upgrade that moves one of these things fails with the name of
the override to
change."""
