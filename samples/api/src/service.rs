//! HTTP around the ledger.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::calls::Calls;
use crate::invoices::{Invoice, Ledger, Refusal};

/// Serves the API on `listener` until the task is dropped.
///
/// # Errors
/// The error of the listener, when it can accept no more.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let state = Arc::new(Mutex::new(State { ledger: Ledger::new(), calls: Calls::default() }));
    loop {
        let (stream, _) = listener.accept().await?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            // A broken connection concerns its peer alone.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

struct State {
    ledger: Ledger,
    calls: Calls,
}

#[derive(Deserialize)]
struct NewNote {
    note: String,
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
    };
    let body = body.to_bytes();
    // Nothing below panics while the lock is held, so a poisoned state is still whole.
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = head.uri.path();
    let number =
        (path != "/calls").then(|| state.calls.remember(&head.method, path, &head.headers));
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut response = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["calls"]) => json(StatusCode::OK, &state.calls.list()),
        (&Method::GET, ["invoices"]) => {
            json(StatusCode::OK, &state.ledger.search(&query(head.uri.query())))
        }
        (&Method::GET, ["invoices", id]) => outcome(state.ledger.invoice(id)),
        (&Method::POST, ["invoices", id, "pay"]) => outcome(state.ledger.pay(id)),
        (&Method::POST, ["invoices", id, "notes"]) => {
            match serde_json::from_slice::<NewNote>(&body) {
                Ok(new) => outcome(state.ledger.add_note(id, &new.note)),
                Err(_) => refused(StatusCode::BAD_REQUEST, "a JSON object with `note` is needed"),
            }
        }
        _ => refused(StatusCode::NOT_FOUND, "no such path"),
    };
    // What the API calls the request: whoever investigates begins here.
    let name = number.map(|number| HeaderValue::from_str(&format!("req-{number}")));
    if let Some(Ok(name)) = name {
        response.headers_mut().insert(X_REQUEST_ID, name);
    }
    Ok(response)
}

/// The value of `query`, with `+` and percent escapes decoded.
fn query(text: Option<&str>) -> String {
    let value = text.unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("query="));
    let mut decoded = Vec::new();
    let mut bytes = value.unwrap_or("").bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let digits = std::str::from_utf8(&digits).unwrap_or("");
                decoded.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            plain => decoded.push(plain),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn outcome(result: Result<Invoice, Refusal>) -> Response<Full<Bytes>> {
    match result {
        Ok(invoice) => json(StatusCode::OK, &invoice),
        Err(Refusal::NoteLimit) => refused(StatusCode::CONFLICT, "the invoice has too many notes"),
        Err(Refusal::PaidBefore) => refused(StatusCode::CONFLICT, "the invoice was paid before"),
        Err(Refusal::Unknown) => refused(StatusCode::NOT_FOUND, "no such invoice"),
    }
}

fn refused(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "error": error }))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    // Plain structs of strings and numbers always serialize.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const BODY_BYTES_MAX: usize = 64 * 1024;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_decoded() {
        assert_eq!(query(Some("query=ada+ship%70ing")), "ada shipping");
        assert_eq!(query(Some("other=1")), "");
        assert_eq!(query(None), "");
        assert_eq!(query(Some("query=%zz%")), "??");
    }
}
