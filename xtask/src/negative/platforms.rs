//! The other issuers that the rows' authority trusts: platforms whose workloads are agents.
//!
//! Two have a key of their own under the same name. The key set of a third holds, beside a good key,
//! everything that no key set should.

use std::path::PathBuf;

use attorn_jose::{Algorithm, SigningKey, base64url};
use attorn_testkit::forge::Signer;
use attorn_testkit::weak_rsa::WeakRsa;

use crate::agent::unique;
use crate::installation::Installation;
use crate::step::StepFailed;

/// The platforms, each with the agent that its workload is.
const PLATFORMS: [(&str, &str); 3] = [
    ("https://platform-a.example", "robot-a"),
    ("https://platform-b.example", "robot-b"),
    ("https://platform-c.example", "robot-c"),
];

/// The workload of every platform.
pub(super) const SUBJECT: &str = "job:1";
/// The issuer of an assertion that is right.
pub(super) const RIGHT_ISSUER: &str = "https://platform-a.example";

/// The keys of the platforms, and the files that tell of them.
#[derive(Debug)]
pub(super) struct Platforms {
    folder: PathBuf,
    keys: Vec<(&'static str, Key)>,
}

#[derive(Debug)]
enum Key {
    Good(SigningKey),
    Secret(Vec<u8>),
    Weak(WeakRsa),
}

impl Platforms {
    /// Makes the keys and writes the key sets.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn new() -> Result<Self, StepFailed> {
        let folder = std::env::temp_dir().join(format!("attorn-platforms-{}", unique()));
        let good = |seed: u8| {
            SigningKey::from_seed(Algorithm::EdDsa, &[seed; 32])
                .map(Key::Good)
                .map_err(|error| StepFailed::Check(format!("a fixture key: {error}")))
        };
        let keys = vec![
            ("platform-a", good(41)?),
            ("platform-b", good(42)?),
            ("platform-c", good(43)?),
            ("encryption", good(44)?),
            ("twice, first", good(45)?),
            ("twice, second", good(46)?),
            ("symmetric", Key::Secret(b"a fixture that everybody knows..".to_vec())),
            ("rsa of 1024 bits", Key::Weak(WeakRsa::short())),
            ("rsa with e of 1", Key::Weak(WeakRsa::exponent_one())),
            ("rsa by a broken generator", Key::Weak(WeakRsa::roca())),
        ];
        let platforms = Self { folder, keys };
        platforms.write()?;
        Ok(platforms)
    }

    fn write(&self) -> Result<(), StepFailed> {
        let of = |name: &str, kid: &str| self.jwk(name, kid);
        let encryption = of("encryption", "encryption").replace(r#""sig""#, r#""enc""#);
        let sets = [
            vec![of("platform-a", "a"), of("platform-a", "only-a")],
            vec![of("platform-b", "a")],
            vec![
                of("platform-c", "good"),
                of("rsa of 1024 bits", "short"),
                of("rsa with e of 1", "one"),
                of("rsa by a broken generator", "roca"),
                of("symmetric", "symmetric"),
                encryption,
                of("twice, first", "twice"),
                of("twice, second", "twice"),
            ],
        ];
        let failed = |source| StepFailed::File { path: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        for ((_, agent), keys) in PLATFORMS.iter().zip(sets) {
            let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
            std::fs::write(self.folder.join(format!("{agent}.jwks")), set).map_err(failed)?;
        }
        Ok(())
    }

    fn jwk(&self, name: &str, kid: &str) -> String {
        match self.key(name) {
            Some(Key::Good(key)) => key.public().to_jwk(Some(kid)),
            Some(Key::Weak(key)) => key.jwk(kid),
            Some(Key::Secret(secret)) => {
                let k = base64url(secret);
                format!(r#"{{"alg":"HS256","k":"{k}","kid":"{kid}","kty":"oct","use":"sig"}}"#)
            }
            None => String::new(),
        }
    }

    /// What the configuration says of them.
    pub(super) fn config(&self) -> String {
        let part = |(issuer, agent): &(&str, &str)| {
            let file = self.folder.join(format!("{agent}.jwks"));
            format!(
                "\n[[authority.trusted_issuers]]\nissuer = \"{issuer}\"\nkind = \"workload\"\n\
                 jwks_file = \"{}\"\n\
                 agents = [{{ agent = \"{agent}\", claims = {{ sub = \"{SUBJECT}\" }} }}]\n",
                file.display()
            )
        };
        PLATFORMS.iter().map(part).collect()
    }

    /// Registers the agents of the workloads, who may read.
    ///
    /// # Errors
    /// When a command fails.
    pub(super) fn register(installation: &Installation) -> Result<(), StepFailed> {
        for (issuer, agent) in PLATFORMS {
            let way = ["--workload-issuer", issuer];
            let new = ["agent", "register", agent, "--owner", "test-team"];
            installation.cli(&[new.as_slice(), &way].concat())?;
            installation.cli(&["grant", "create", agent, "canary", "read:echo"])?;
        }
        Ok(())
    }

    /// The key that signs an assertion which is right.
    pub(super) fn right(&self) -> Result<&SigningKey, StepFailed> {
        match self.key("platform-a") {
            Some(Key::Good(key)) => Ok(key),
            Some(Key::Secret(_) | Key::Weak(_)) | None => {
                Err(StepFailed::Check("no key of the platform".to_owned()))
            }
        }
    }

    /// Who signs by this name.
    pub(super) fn signer(&self, name: &str) -> Option<Signer<'_>> {
        Some(match self.key(name)? {
            Key::Good(key) => Signer::Key(key),
            Key::Secret(secret) => Signer::Hmac(secret),
            Key::Weak(key) => Signer::WeakRsa(key),
        })
    }

    fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|(known, _)| *known == name).map(|(_, key)| key)
    }
}

impl Drop for Platforms {
    fn drop(&mut self) {
        // Only litter in the temporary folder is at stake.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
