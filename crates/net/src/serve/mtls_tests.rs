//! Client certificates over real handshakes.

use std::net::SocketAddr;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use super::*;
use crate::test_certificates::{Authority, identity, material};
use crate::{
    Anchors, Body, Client, ClientConfig, ClientIdentity, Peer, Roots, SendError, Tls, TlsMaterial,
    TrustedProxy, are_authorities,
};

/// A listener that asks for certificates and answers with what it knows of its peer.
struct Asking {
    tls: Tls,
    shown: TlsMaterial,
    roots: String,
    address: SocketAddr,
}

impl Asking {
    async fn new(anchors: Vec<Anchors>) -> Self {
        Self::with(anchors, Vec::new(), Limits::default()).await
    }

    async fn with(anchors: Vec<Anchors>, proxies: Vec<TrustedProxy>, limits: Limits) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let shown = TlsMaterial { clients: Some(anchors), proxies, ..material(&made) };
        let tls = Tls::new(&shown).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Some(tls.clone())).await.unwrap();
        let address = listener.address();
        let service = service_fn(|request: Request<ReceivedBody>| {
            let peer = request.extensions().get::<Peer>().unwrap();
            let read = peer.certificate.as_ref();
            let told = read.map(|read| format!("{:?} {:?}", read.uris, read.anchors));
            let told = told.unwrap_or_else(|| "nobody".to_owned());
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::full(told))))
        });
        tokio::spawn(serve(listener, service, limits, Shutdown::new()));
        Self { tls, shown, roots: made.cert.pem(), address }
    }

    fn client(&self, identity: Option<ClientIdentity>) -> Client {
        let roots = Roots::Pem(self.roots.clone());
        Client::new(ClientConfig { roots, identity, ..ClientConfig::default() }).unwrap()
    }

    async fn told(&self, client: &Client) -> Result<String, SendError> {
        let url = format!("https://localhost:{}/", self.address.port());
        let answer = client.send(Request::get(url).body(Bytes::new()).unwrap()).await?;
        let body = answer.into_body().bytes(1000).await.unwrap();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    async fn seen(&self, identity: ClientIdentity) -> String {
        self.told(&self.client(Some(identity))).await.unwrap()
    }
}

const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

#[tokio::test]
async fn a_certificate_is_judged_by_each_set_of_authorities() {
    let (ca, domain) = (Authority::new(), Authority::new());
    let asking = Asking::new(vec![ca.anchors("ca"), domain.anchors("spiffe://a")]).await;
    assert_eq!(asking.told(&asking.client(None)).await.unwrap(), "nobody");
    let client = asking.client(Some(ca.leaf("urn:a", CLIENT, 2090)));
    assert!(!client.was_asked_for_certificate());
    asking.told(&client).await.unwrap();
    assert!(client.was_asked_for_certificate());
    let seen = asking.seen(ca.leaf("urn:a", CLIENT, 2090)).await;
    assert_eq!(seen, r#"["urn:a"] ["ca"]"#);
    let seen = asking.seen(domain.leaf("spiffe://a/b", CLIENT, 2090)).await;
    assert_eq!(seen, r#"["spiffe://a/b"] ["spiffe://a"]"#);
}

#[tokio::test]
async fn what_no_authority_vouches_for_is_seen_and_trusted_by_none() {
    let ca = Authority::new();
    let asking = Asking::new(vec![ca.anchors("ca")]).await;
    // Of another authority, past its end, and for servers only.
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let leaves = [
        Authority::new().leaf("urn:a", CLIENT, 2090),
        ca.leaf("urn:a", CLIENT, 2021),
        ca.leaf("urn:a", server, 2090),
    ];
    for leaf in leaves {
        assert_eq!(asking.seen(leaf).await, r#"["urn:a"] []"#);
    }
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    assert_eq!(asking.seen(identity(own.cert.pem(), &own.signing_key)).await, "[] []");
}

#[tokio::test]
async fn a_certificate_without_its_key_ends_the_handshake() {
    let ca = Authority::new();
    let asking = Asking::new(vec![ca.anchors("ca")]).await;
    let stolen = ca.leaf("urn:a", CLIENT, 2090).certificates_pem;
    let roots = Roots::Pem(asking.roots);
    let own = identity(stolen, &KeyPair::generate().unwrap());
    // Our own library already refuses such a pair; a peer that does not is refused in the handshake.
    let config = ClientConfig { roots, identity: Some(own), ..ClientConfig::default() };
    assert!(Client::new(config).is_err());
}

#[tokio::test]
async fn a_chain_beyond_its_limits_ends_the_handshake() {
    let ca = Authority::new();
    let asking = Asking::new(vec![ca.anchors("ca")]).await;
    let right = ca.leaf("urn:a", CLIENT, 2090);
    let long = ClientIdentity {
        certificates_pem: right.certificates_pem.repeat(50),
        key_pem: right.key_pem.clone(),
    };
    let refused = asking.told(&asking.client(Some(long))).await;
    assert!(refused.is_err(), "{refused:?}");
    let names: Vec<String> = (0..1000).map(|number| format!("n{number}.example")).collect();
    let many = rcgen::generate_simple_self_signed(names).unwrap();
    let many = identity(many.cert.pem(), &many.signing_key);
    let refused = asking.told(&asking.client(Some(many))).await;
    assert!(refused.is_err(), "{refused:?}");
    // The process goes on, and so does the listener.
    assert_eq!(asking.seen(right).await, r#"["urn:a"] ["ca"]"#);
}

#[tokio::test]
async fn a_change_of_trust_reaches_open_connections() {
    let (old, new) = (Authority::new(), Authority::new());
    let asking = Asking::new(vec![old.anchors("ca")]).await;
    let client = asking.client(Some(old.leaf("urn:a", CLIENT, 2090)));
    assert_eq!(asking.told(&client).await.unwrap(), r#"["urn:a"] ["ca"]"#);
    let changed = TlsMaterial { clients: Some(vec![new.anchors("ca")]), ..asking.shown.clone() };
    asking.tls.replace(&changed).unwrap();
    // The same connection, kept by the pool.
    assert_eq!(asking.told(&client).await.unwrap(), r#"["urn:a"] []"#);
    // What cannot be used changes nothing.
    let broken = Anchors { authorities: vec![vec![0]], ..new.anchors("ca") };
    let broken = TlsMaterial { clients: Some(vec![broken]), ..asking.shown.clone() };
    assert!(asking.tls.replace(&broken).is_err());
    assert_eq!(asking.seen(new.leaf("urn:b", CLIENT, 2090)).await, r#"["urn:b"] ["ca"]"#);
}

#[tokio::test]
async fn a_revoked_certificate_is_trusted_by_nobody() {
    let ca = Authority::new();
    let (good, revoked) = (ca.leaf("urn:a", CLIENT, 2090), ca.leaf("urn:b", CLIENT, 2090));
    let list = ca.revocation_list(&revoked);
    let anchors = Anchors { revoked_pem: Some(list.into_bytes()), ..ca.anchors("ca") };
    let asking = Asking::new(vec![anchors]).await;
    assert_eq!(asking.seen(good).await, r#"["urn:a"] ["ca"]"#);
    assert_eq!(asking.seen(revoked).await, r#"["urn:b"] []"#);
}

/// A proxy speaks for many clients; who only comes from where it is does not.
#[tokio::test]
async fn a_listed_proxy_has_no_share_and_a_stranger_beside_it_has() {
    let own = rcgen::generate_simple_self_signed(vec!["proxy.example".to_owned()]).unwrap();
    let thumbprint = crate::certificate::parse(own.cert.der()).unwrap().thumbprint;
    let (name, thumbprints) = ("edge".to_owned(), vec![thumbprint]);
    let proxy = TrustedProxy { name, addresses: Vec::new(), thumbprints };
    let limits = Limits { of_loopback_max: 1, ..Limits::default() };
    let asking = Asking::with(Vec::new(), vec![proxy], limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let client = asking.client(Some(identity(own.cert.pem(), &own.signing_key)));
        assert_eq!(asking.told(&client).await.unwrap(), "nobody");
        held.push(client);
    }
    let stranger = asking.client(None);
    assert_eq!(asking.told(&stranger).await.unwrap(), "nobody");
    assert!(asking.told(&asking.client(None)).await.is_err());
    drop((held, stranger));
}

#[test]
fn what_is_no_authority_is_known_before_it_is_trusted() {
    let good = Authority::new().anchors("ca").authorities;
    assert!(are_authorities(&good));
    assert!(!are_authorities(&[good, vec![vec![1, 2, 3]]].concat()));
}
