//! JWS, JWK and thumbprints: strict parse, verify, sign.
