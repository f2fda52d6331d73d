//! Journal entries, Merkle tree, checkpoints, proofs and the offline verifier.
