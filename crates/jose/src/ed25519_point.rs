//! Which Ed25519 public keys are refused although the library would take them.
//!
//! Implemented: non-canonical encodings (RFC 8032 section 5.1.3) and points of small order
//! (RFC 8032 section 8.4 leaves them to the protocol). Not implemented: keys of mixed order. Their
//! torsion part is chosen by the key's own holder, gives nobody else a signature, and has another
//! thumbprint. A point off the curve is found when a signature is verified, and never verifies.

/// The field prime 2^255 - 19, little-endian.
const PRIME: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed;
    bytes[31] = 0x7f;
    bytes
};

/// The y coordinates of the eight points of small order, little-endian, without the sign bit:
/// 1 (order 1), -1 (order 2), 0 (order 4), and the two of order 8.
const SMALL_ORDER_Y: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = PRIME;
    minus_one[0] = 0xec;
    [
        one,
        minus_one,
        [0; 32],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

/// Whether the encoded point may be a public key here.
///
/// Under a point of small order anybody can produce signatures, so a registered one would be a
/// password everybody knows. A second encoding of one point would be a second thumbprint of one
/// key.
pub(crate) fn is_acceptable(encoded: &[u8; 32]) -> bool {
    let mut y = *encoded;
    // RFC 8032 section 5.1.2: the highest bit is the sign of x.
    y[31] &= 0x7f;
    // RFC 8032 section 5.1.3: y must be less than the prime. Compared from the highest byte down.
    let is_canonical = y.iter().rev().lt(PRIME.iter().rev());
    is_canonical && !SMALL_ORDER_Y.contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_key_is_accepted() {
        // RFC 8037 appendix A.2.
        let x =
            crate::base64url::array_from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert!(is_acceptable(&x.unwrap()));
    }

    #[test]
    fn small_order_points_are_refused_under_both_signs() {
        for y in SMALL_ORDER_Y {
            let mut with_sign = y;
            with_sign[31] |= 0x80;
            assert!(!is_acceptable(&y) && !is_acceptable(&with_sign), "{y:02x?}");
        }
    }

    #[test]
    fn non_canonical_encodings_are_refused() {
        for low in 0xed..=0xff {
            let mut y = PRIME;
            y[0] = low;
            assert!(!is_acceptable(&y), "{low:02x}");
        }
        let mut largest = PRIME;
        largest[0] = 0xeb;
        assert!(is_acceptable(&largest));
    }
}
