//! The whole sample, both halves, over pipes in memory.

use rmcp::ServiceExt;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};

use crate::api::Api;
use crate::private_api;
use crate::server::InvoiceServer;

struct Pipes {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
}

impl Pipes {
    async fn open() -> Self {
        let base = private_api().await.unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let server = InvoiceServer::new(Api::new(&base).unwrap());
            server.serve(theirs).await.unwrap().waiting().await.unwrap();
        });
        let (read, input) = tokio::io::split(ours);
        let mut pipes = Self { input, output: BufReader::new(read).lines() };
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        pipes.ask("initialize", hello).await;
        let done = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        pipes.input.write_all(format!("{done}\n").as_bytes()).await.unwrap();
        pipes
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.input.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let line = self.output.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> (bool, String) {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await;
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        (result["isError"] == true, text)
    }
}

#[tokio::test]
async fn tools_are_annotated_as_promised() {
    let listed = Pipes::open().await.ask("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let annotations =
        |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap()["annotations"].clone();
    assert_eq!(tools.len(), 5);
    assert_eq!(annotations("search_invoices")["readOnlyHint"], true);
    assert_eq!(annotations("get_invoice")["readOnlyHint"], true);
    assert_eq!(annotations("add_note")["destructiveHint"], false);
    assert_eq!(annotations("pay_invoice")["destructiveHint"], true);
    assert_eq!(annotations("export_invoices"), Value::Null);
}

#[tokio::test]
async fn calls_reach_the_api_and_a_payment_is_final() {
    let mut pipes = Pipes::open().await;
    let (failed, found) = pipes.call("search_invoices", json!({ "query": "brook" })).await;
    assert!(!failed && found.contains("inv-1002"), "{found}");
    let note = json!({ "id": "inv-1002", "note": "checked" });
    assert!(pipes.call("add_note", note).await.1.contains("checked"));
    let id = json!({ "id": "inv-1002" });
    assert!(pipes.call("pay_invoice", id.clone()).await.1.contains(r#""state":"paid""#));
    let (failed, again) = pipes.call("pay_invoice", id).await;
    assert!(failed && again.contains("paid before"), "{again}");
    assert!(pipes.call("get_invoice", json!({ "id": "../calls" })).await.0);
    assert!(pipes.call("export_invoices", json!({})).await.1.contains("inv-1003"));
}

#[tokio::test]
async fn the_resource_and_the_prompt_are_there() {
    let mut pipes = Pipes::open().await;
    let read = pipes.ask("resources/read", json!({ "uri": "invoices://payment-terms" })).await;
    assert!(read["result"]["contents"][0]["text"].as_str().unwrap().contains("30 days"));
    let other = pipes.ask("resources/read", json!({ "uri": "file:///etc/passwd" })).await;
    assert!(other.get("error").is_some());
    let prompt = pipes.ask("prompts/get", json!({ "name": "payment-reminder" })).await;
    assert_eq!(prompt["result"]["messages"][0]["role"], "user");
}
