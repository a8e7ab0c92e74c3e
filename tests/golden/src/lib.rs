//! Golden tests: Ablate against states frozen from PyTorch and transformers.
//!
//! Owns: the frozen files (`data/`), the scripts that freeze them (`generate.py`, and for the
//! optimizers alone `generate_optimizers.py`), the tests that
//! compare (`tests/golden/`) and a script that loads an export into transformers
//! (`check_export.py`, run by hand, since it needs PyTorch). There is no code in the library.
