//! Golden tests: Ablate against states frozen from PyTorch and transformers.
//!
//! Owns: the frozen files (`data/`), the script that freezes them (`generate.py`), the tests that
//! compare (`tests/golden/`) and a script that loads an export into transformers
//! (`check_export.py`, run by hand, since it needs PyTorch). There is no code in the library.
