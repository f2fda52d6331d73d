//! `attorn connect` on somebody else's word: a platform's JWT, or an identity provider's ID-JAG.

use std::path::{Path, PathBuf};

use attorn_connect::assertion::{AssertionClient, AssertionSource, ClientProof, Provider};
use attorn_connect::discovery::authorization_server;
use attorn_connect::token::{Credential, Grant};
use attorn_jose::{Algorithm, SigningKey};
use clap::Args;

use super::person::secret;
use super::{ConnectArgs, Way, load, resource_of};
use crate::commands::Context;
use crate::exit::Failure;
use crate::files;
use crate::outside::{causes, connect_world, system_random};
use crate::profile::Profile;

/// Whose word is taken instead of, or beside, a key of our own.
#[derive(Debug, Args)]
pub(crate) struct FederationArgs {
    /// Ask with the JWT that the platform keeps in this file; it is read anew for each token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "client_id", "id_token"])]
    workload_token: Option<PathBuf>,
    /// Key (PKCS#8 PEM, 0600) that tokens of the workload are bound to [default: a new one each start]
    #[arg(long, value_name = "FILE", requires = "workload_token")]
    proof_key: Option<PathBuf>,
    /// Ask for the person whose ID token is in this file, by an ID-JAG of their identity provider
    #[arg(long, value_name = "FILE", requires = "idp")]
    id_token: Option<PathBuf>,
    /// That identity provider, as the ID token names it
    #[arg(long, value_name = "ISSUER", requires = "id_token")]
    idp: Option<String>,
    /// What we are called at the identity provider
    #[arg(long, value_name = "ID", requires = "id_token")]
    idp_client_id: Option<String>,
    /// File (0600) with our secret at the identity provider
    #[arg(long, value_name = "FILE", requires = "idp_client_id")]
    idp_client_secret: Option<PathBuf>,
}

impl FederationArgs {
    pub(super) const fn is_there(&self) -> bool {
        self.workload_token.is_some() || self.id_token.is_some()
    }
}

/// Where to go and on whose word.
pub(super) async fn way(context: &Context, args: &ConnectArgs) -> Result<Way, Failure> {
    let asked = &args.federation;
    if args.person {
        return Err(Failure::usage("`--person` asks the person, and nobody else's word"));
    }
    match (&asked.workload_token, &asked.id_token, &asked.idp) {
        (Some(token), _, _) => workload(args, token),
        (None, Some(id_token), Some(idp)) => person(context, args, (id_token, idp)).await,
        (None, _, _) => Err(Failure::usage("`--id-token` needs `--idp`")),
    }
}

fn workload(args: &ConnectArgs, token: &Path) -> Result<Way, Failure> {
    if !args.server.contains("://") {
        return Err(Failure::usage("a workload names the server by its address"));
    }
    let key = match &args.federation.proof_key {
        Some(path) => key_of(path)?,
        None => new_key()?,
    };
    let source = AssertionSource::File(token.to_owned());
    let grant = AssertionClient { source, authentication: ClientProof::Assertion, key };
    let (resource, world) = (args.server.clone(), connect_world(args.roots.as_deref())?);
    Ok(Way { grant: Grant::Assertion(grant), issuer: None, resource, world })
}

async fn person(
    context: &Context,
    args: &ConnectArgs,
    (id_token, idp): (&Path, &str),
) -> Result<Way, Failure> {
    let roots = args.roots.as_deref();
    let foreign = args.client_id.as_ref().map(|client_id| foreign(args, client_id));
    let (world, resource, issuer, (key, authentication)) =
        if let Some(proof) = foreign.transpose()? {
            (connect_world(roots)?, args.server.clone(), None, proof)
        } else {
            let profile = load(context, args.agent.as_deref())?;
            let (world, credential) = (profile.world()?, profile.proof.credential());
            let Profile { identity, .. } = profile;
            let resource = resource_of(&identity, &args.server)?;
            let Credential::Key(key) = credential else {
                return Err(Failure::usage("an agent with a certificate asks for no ID-JAG"));
            };
            let proof = (key, ClientProof::Key(identity.client_id));
            (world, resource, Some(identity.issuer), proof)
        };
    if !resource.contains("://") {
        return Err(Failure::usage("without an enrolled agent, name the server by its address"));
    }
    // The provider is somebody else, so neither our roots nor our certificate are for it.
    let of_provider = authorization_server(&connect_world(None)?, idp).await;
    let of_provider = of_provider.map_err(|e| Failure::unreachable(causes(&e)))?;
    let asked = &args.federation;
    let source = AssertionSource::Provider(Provider {
        token_endpoint: of_provider.token_endpoint,
        client_id: asked.idp_client_id.clone(),
        secret: asked.idp_client_secret.as_deref().map(secret).transpose()?,
        id_token: id_token.to_owned(),
    });
    let grant = Grant::Assertion(AssertionClient { source, authentication, key });
    Ok(Way { grant, issuer, resource, world })
}

/// A client of a foreign authorization server: its key, or its secret and a key of this start.
fn foreign(args: &ConnectArgs, client_id: &str) -> Result<(SigningKey, ClientProof), Failure> {
    let client_id = client_id.to_owned();
    match (&args.key, &args.client_secret) {
        (Some(key), _) => Ok((key_of(key)?, ClientProof::Key(client_id))),
        (None, Some(path)) => {
            let secret = secret(path)?;
            Ok((new_key()?, ClientProof::Secret { client_id, secret }))
        }
        (None, None) => Err(Failure::usage("`--client-id` needs `--key` or `--client-secret`")),
    }
}

fn key_of(path: &Path) -> Result<SigningKey, Failure> {
    let pem = files::read_private(path)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|e| Failure::usage(e.to_string()))
}

fn new_key() -> Result<SigningKey, Failure> {
    let seed = system_random().bytes::<32>();
    SigningKey::from_seed(Algorithm::Es256, &seed).map_err(|e| Failure::usage(e.to_string()))
}
