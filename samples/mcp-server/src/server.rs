//! The tools, the resource and the prompt.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    Implementation, ListPromptsResult, ListResourcesResult, PaginatedRequestParams, Prompt,
    PromptMessage, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, Role, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;

use crate::api::{Answer, Api, Unreachable, encoded};

/// Serves one client.
#[derive(Clone, Debug)]
pub(crate) struct InvoiceServer {
    api: Api,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Search {
    /// Text to look for in ids and customers; empty for all
    query: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct InvoiceId {
    /// Such as inv-1001
    id: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Note {
    /// Such as inv-1001
    id: String,
    /// The text to add
    note: String,
}

#[tool_router]
impl InvoiceServer {
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    #[tool(
        description = "Search invoices by id or customer",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn search_invoices(&self, search: Parameters<Search>) -> CallToolResult {
        result(self.api.get(&format!("/invoices?query={}", encoded(&search.0.query))).await)
    }

    #[tool(
        description = "Show one invoice",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_invoice(&self, invoice: Parameters<InvoiceId>) -> CallToolResult {
        result(self.api.get(&format!("/invoices/{}", encoded(&invoice.0.id))).await)
    }

    #[tool(
        description = "Add a note to an invoice",
        annotations(read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    async fn add_note(&self, note: Parameters<Note>) -> CallToolResult {
        let body = serde_json::json!({ "note": note.0.note }).to_string();
        result(self.api.post(&format!("/invoices/{}/notes", encoded(&note.0.id)), body).await)
    }

    #[tool(
        description = "Pay an invoice; a payment cannot be taken back",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    async fn pay_invoice(&self, invoice: Parameters<InvoiceId>) -> CallToolResult {
        let path = format!("/invoices/{}/pay", encoded(&invoice.0.id));
        result(self.api.post(&path, String::new()).await)
    }

    // No annotations on purpose: many servers ship none, and an owner has to classify them.
    #[tool(description = "Export all invoices")]
    async fn export_invoices(&self) -> CallToolResult {
        result(self.api.get("/invoices?query=").await)
    }
}

#[tool_handler]
impl ServerHandler for InvoiceServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("attorn-sample-invoices", "1.0.0"))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let terms = Resource::new(TERMS_URI, "payment-terms").with_mime_type("text/plain");
        Ok(ListResourcesResult::with_all_items(vec![terms]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != TERMS_URI {
            return Err(ErrorData::resource_not_found("no such resource", None));
        }
        let terms = ResourceContents::text(TERMS, TERMS_URI);
        Ok(ReadResourceResult::new(vec![terms]).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let reminder = Prompt::new(REMINDER, Some("Write a payment reminder"), None);
        Ok(ListPromptsResult::with_all_items(vec![reminder]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != REMINDER {
            return Err(ErrorData::invalid_params("no such prompt", None));
        }
        let text = "Find the open invoices and write one friendly reminder for each customer.";
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }
}

fn result(answer: Result<Answer, Unreachable>) -> CallToolResult {
    match answer {
        Ok(Answer { succeeded: true, text }) => {
            CallToolResult::success(vec![ContentBlock::text(text)])
        }
        Ok(Answer { succeeded: false, text }) => {
            CallToolResult::error(vec![ContentBlock::text(text)])
        }
        Err(Unreachable) => CallToolResult::error(vec![ContentBlock::text(
            "the invoice API did not answer; is it running?",
        )]),
    }
}

const TERMS_URI: &str = "invoices://payment-terms";
const TERMS: &str = "Invoices are due within 30 days. A payment is final.";
const REMINDER: &str = "payment-reminder";
