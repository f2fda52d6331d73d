//! RSA keys that nobody may use, and signatures by them. Fixtures: their private parts are here, and they
//! guard nothing.
//!
//! A library that signs with such a key is hard to find, and rightly so: the arithmetic is done here.

use attorn_jose::{base64url, sha256};
use num_bigint::BigUint;

/// A key that is too weak to count.
#[derive(Clone, Debug)]
pub struct WeakRsa {
    modulus: BigUint,
    public_exponent: u32,
    private_exponent: BigUint,
}

impl WeakRsa {
    /// Of 1024 bits.
    #[must_use]
    pub fn short() -> Self {
        Self::new(SHORT_MODULUS, 65537, SHORT_EXPONENT)
    }

    /// With the public exponent 1: every text is its own signature, so anybody can sign.
    #[must_use]
    pub fn exponent_one() -> Self {
        Self::new(SOUND_MODULUS, 1, "1")
    }

    /// By a broken generator (CVE-2017-15361): its primes have so few forms that they can be found.
    #[must_use]
    pub fn roca() -> Self {
        Self::new(ROCA_MODULUS, 65537, ROCA_EXPONENT)
    }

    fn new(modulus: &str, public_exponent: u32, private_exponent: &str) -> Self {
        let number = |text: &str| BigUint::parse_bytes(text.as_bytes(), 16).unwrap_or_default();
        let private_exponent = number(private_exponent);
        Self { modulus: number(modulus), public_exponent, private_exponent }
    }

    /// The public key as a member of a set, for `RS256`.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> String {
        let exponent = BigUint::from(self.public_exponent).to_bytes_be();
        let (n, e) = (base64url(&self.modulus.to_bytes_be()), base64url(&exponent));
        format!(r#"{{"alg":"RS256","e":"{e}","kid":"{kid}","kty":"RSA","n":"{n}","use":"sig"}}"#)
    }

    /// RFC 8017 section 8.2.1, RSASSA-PKCS1-v1_5 with SHA-256.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let length = self.modulus.to_bytes_be().len();
        let told = [SHA256_PREFIX, &sha256(message)].concat();
        let padding = vec![0xff; length.saturating_sub(told.len() + 3)];
        let encoded = [&[0, 1], padding.as_slice(), &[0], &told].concat();
        let signature =
            BigUint::from_bytes_be(&encoded).modpow(&self.private_exponent, &self.modulus);
        let signature = signature.to_bytes_be();
        [vec![0; length.saturating_sub(signature.len())], signature].concat()
    }
}

/// RFC 8017 section 9.2, note 1.
const SHA256_PREFIX: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A fixture.
const SHORT_MODULUS: &str = "\
    d4376d52a269fe391eae79f8d823e2a1e9103143fae21edb7eecb99e09f13f176686b850bbd8685a09a55b9c\
    3cd8a37b10c4ac938377e73366a2668114afc412474fabe7790a02f4eccf0cd82835f07c2e6a9b468c12dac2\
    2b709cb75e242b37c8d8325dd15d8969a4a8b7d2235924b99c5a261e5ca12646c61757baef64e8c3";
/// A fixture.
const SHORT_EXPONENT: &str = "\
    5b9c0dba6558422160484b690bccf9f1910da766c42fc6c8541356d18d53323c24cb3557ccaf4fe4c65336a7\
    cc706caa1c83fa47b7b214015165fbbfef312cff39bdde3e1a7d49010e847177326e85c4c1d8086c99e86fd5\
    92f48f9cf0f9e9afb6475078cb1738479316b27a63872f42e090988711e54220c54d31fecdfcf809";
/// A fixture.
const ROCA_MODULUS: &str = "\
    e49d8a8d03d1aba531d3b00f11c7a1fb10fa8a1bd2bb842f0b38be8fdd235063d03b9c67c46b930167f5468b\
    7ca073ec170f34f733ea8436087f2003393a4cc850631d1300ccfd7313959396a9aee929ecd0888a887ad507\
    e9d52c7c0c9823781dd40e7b425d21d947d797e30f84fc82218482f0f7c78d1ac388c6cb0cf4cb1ee7d66781\
    c693dca694c7c0ad330f388638de3b63fc23f44eb1f64627728e9571058e1eb3ead1fa323c078881e3b510c0\
    41db923d2801355e3efb93aa94a7a1e95478148f368fbce59c6449450d9ad60b6493e7d672181cda0ce7b754\
    947a6ab83d317d00a372f42d2582ff99fd06be37b1b6e313864598d1fcb12adb7806e1c3";
/// A fixture.
const ROCA_EXPONENT: &str = "\
    1433927274d6192b48733bd65068ddfc2807635d49646b204775ca0715eb32748abaabedf51370c08c76123b\
    63c7deadd48c3e44851a8dfc0ed1fc85a658807e47b0f6f57f923cc55d2618c8eb582f79b55eaa27bd33c383\
    aa4f85f8bc54999d56a48fef23f50901c2731a302da484e2fae2cf7edc74269529052b5b6c07f0675abf1471\
    6e29f48308e3e84468a1bca84155ec7ea99680aa71a33f60b3019fb5edfe03bce36cf1f5b318968d95865543\
    ec9c9324528d7b2e2a6cf4b2c5fa63da3e818fde3b5c6b7e7dad1067071ec4389085f583751262c3dfe61160\
    4e205ba202989e28eefe10ac4eac497229ff982d261797c0728bd69cd513a8c112cee81";
/// A fixture.
const SOUND_MODULUS: &str = "\
    ca9a83079db9ba3de2d236f3402afd772091b0e12dd326612b1c314c16db707cc5f84b0edc8f6c83c550edd8\
    17489e27208a9045ea6a7150e5a968d4517dcd0766782715d2a677487dd1b924ea6962fe77a3f0711982691f\
    0cdcf48a9540c374b2034f0a84b03effc898c4e12417c1ab1bce67bbd3111e36c2481888bb069f4edf671c05\
    6fec9364f8d8d65af366f709a33f12682fbf05e1848a6967057c5cb17a46d76886aa608f4cd5ab3c37b11169\
    834ac87a6c5a45ce3e9ee8ba5335018ef53256c22b4427ba58a961d2648bbb641bbeab0e395f9399e4741f26\
    136f9adc98f5dee0262a0f91e34c1aa27636caa4773eefa0f87e2d8af98a715c7eaebca9";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_hold_by_the_arithmetic() {
        for key in [WeakRsa::short(), WeakRsa::exponent_one(), WeakRsa::roca()] {
            let signature = BigUint::from_bytes_be(&key.sign(b"text"));
            let opened = signature.modpow(&BigUint::from(key.public_exponent), &key.modulus);
            let opened = opened.to_bytes_be();
            assert!(opened.ends_with(&[SHA256_PREFIX, &sha256(b"text")].concat()));
            // The zero at the front is no byte of a number.
            assert_eq!(opened[..2], [1, 0xff]);
        }
    }

    #[test]
    fn no_jwk_of_them_is_a_key() {
        for key in [WeakRsa::short(), WeakRsa::exponent_one(), WeakRsa::roca()] {
            let refused =
                attorn_jose::PublicKey::parse_jwk(&key.jwk("a").replace("RS256", "PS256"));
            assert_eq!(refused.err(), Some(attorn_jose::JwkError::RsaWeak));
        }
    }
}
