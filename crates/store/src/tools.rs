//! Tools: every definition that was seen, and what was approved of it.

use attorn_registry::verify_class_rules;
use attorn_registry::{
    Approved, Class, ClassRule, Effects, McpServer, SERVER_TOOLS_MAX, ServerId, Tool,
};
use sqlx::AnyConnection;

use crate::Store;
use crate::change::{Act, Change, ChangeKind, Changed};
use crate::column::{Columns, row};
use crate::failure::{Failure, Refusal, StoreError};
use crate::servers::server_by_id;

const COLUMNS: Columns = Columns("tools");

/// A definition as a server shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTool {
    /// The exact name.
    pub name: String,
    /// The raw tool object as canonical JSON.
    pub definition: String,
    /// SHA-256 of the canonical definition.
    pub digest: [u8; 32],
    /// What the annotations suggest.
    pub proposed_class: Class,
}

/// A definition that the registry does not have as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDefinition {
    /// The definition.
    pub tool: SeenTool,
    /// Whether the owner approved another one of this tool.
    pub was_approved: bool,
}

/// What the registry would take of what a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDefinitions {
    /// New definitions of known tools, and then new tools.
    pub taken: Vec<NewDefinition>,
    /// How many new tools find no place: the server has [`SERVER_TOOLS_MAX`].
    pub left_out: usize,
}

/// What an owner confirms of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The definition that was looked at.
    pub digest: [u8; 32],
    /// The class of calls no rule speaks of.
    pub class: Class,
    /// Rules that give calls with certain arguments another class.
    pub rules: Vec<ClassRule>,
    /// What the tool does to the flow of information.
    pub effects: Effects,
}

impl Confirmed {
    /// One class for every call, and nothing said of effects.
    #[must_use]
    pub fn plain(digest: [u8; 32], class: Class) -> Self {
        Self { digest, class, rules: Vec::new(), effects: Effects::default() }
    }
}

/// The two texts to compare before an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDefinitions {
    /// What was approved last, if anything.
    pub approved: Option<String>,
    /// What the server shows now.
    pub current: String,
}

impl Store {
    /// What of this [`Store::record_seen_tools`] would record, so that it can be told first. Nothing
    /// is recorded here, and somebody else may record something in between.
    ///
    /// # Errors
    /// No such server.
    pub async fn new_definitions(
        &self,
        id: &ServerId,
        seen: &[SeenTool],
    ) -> Result<NewDefinitions, StoreError> {
        let server = self.server(id).await?;
        let (new, left_out) = new_among(&server, seen);
        let was_approved = |tool: &SeenTool| {
            server.tools.get(&tool.name).is_some_and(|known| known.approved.is_some())
        };
        let taken = new
            .into_iter()
            .map(|tool| NewDefinition { tool: tool.clone(), was_approved: was_approved(tool) });
        Ok(NewDefinitions { taken: taken.collect(), left_out })
    }

    /// Records what a server shows. New tools wait for approval, and changed ones wait again.
    /// Nothing happens, and nothing is returned, when every definition is known. New tools that
    /// find no place, because the server has [`SERVER_TOOLS_MAX`], are left out: they hide no change
    /// of a known one.
    ///
    /// # Errors
    /// No such server.
    pub async fn record_seen_tools(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        seen: &[SeenTool],
    ) -> Result<Option<Changed<Vec<Tool>>>, StoreError> {
        // Looked at without a transaction first: most listings bring nothing new.
        if new_among(&self.server(id).await?, seen).0.is_empty() {
            return Ok(None);
        }
        let mut change = Change::begin(self, *act).await?;
        let server = server_by_id(change.connection(), id).await?;
        let (new, _left_out) = new_among(&server, seen);
        let seen_s = COLUMNS.number(act.now_s)?;
        for tool in &new {
            write_seen(change.connection(), id, tool, seen_s).await?;
        }
        let all = tools_of(change.connection(), id).await?;
        let is_new = |tool: &Tool| new.iter().any(|new| new.name == tool.name);
        let record = all.into_iter().filter(is_new).collect();
        Ok(Some(change.finish(ChangeKind::ToolSeen, id.as_str(), record).await?))
    }

    /// Approves one definition of a tool, and confirms its class. Also how a class is changed.
    ///
    /// # Errors
    /// No such server or tool, or `digest` is not the current one: nobody approves what they have
    /// not seen.
    pub async fn approve_tool(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        name: &str,
        confirmed: &Confirmed,
    ) -> Result<Changed<Tool>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let record = write_approval(&mut change, id, name, confirmed).await?;
        change.finish(ChangeKind::ToolApproved, id.as_str(), record).await
    }

    /// As [`Store::approve_tool`], for several tools of one server in one change.
    ///
    /// # Errors
    /// The same, for any of them; then none is approved.
    pub async fn approve_tools(
        &self,
        act: &Act<'_>,
        id: &ServerId,
        tools: &[(&str, Confirmed)],
    ) -> Result<Changed<Vec<Tool>>, StoreError> {
        let mut change = Change::begin(self, *act).await?;
        let mut record = Vec::with_capacity(tools.len());
        for (name, confirmed) in tools {
            record.push(write_approval(&mut change, id, name, confirmed).await?);
        }
        change.finish(ChangeKind::ToolApproved, id.as_str(), record).await
    }

    /// The approved and the current definition of a tool.
    ///
    /// # Errors
    /// No such tool.
    pub async fn tool_definitions(
        &self,
        id: &ServerId,
        name: &str,
    ) -> Result<ToolDefinitions, StoreError> {
        let row: Option<(Option<String>, String)> = sqlx::query_as(
            "SELECT approved_definition, definition FROM tools WHERE server = $1 AND name = $2",
        )
        .bind(id.as_str())
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        let (approved, current) = row.ok_or(Refusal::ToolUnknown)?;
        Ok(ToolDefinitions { approved, current })
    }
}

/// As [`Store::approve_tool`], as a part of a change.
pub(crate) async fn write_approval(
    change: &mut Change<'_>,
    id: &ServerId,
    name: &str,
    confirmed: &Confirmed,
) -> Result<Tool, StoreError> {
    verify_class_rules(&confirmed.rules).map_err(Refusal::ClassRules)?;
    let tool = tool_named(change.connection(), id, name).await?;
    if tool.digest != confirmed.digest {
        return Err(Refusal::DefinitionStale.into());
    }
    let act = change.act;
    sqlx::query(
        "UPDATE tools SET approved_definition = definition, approved_digest = digest,
         approved_class = $1, approved_by = $2, approved_s = $3, approved_rules = $4,
         approved_effects = $5 WHERE server = $6 AND name = $7",
    )
    .bind(confirmed.class.as_str())
    .bind(act.by)
    .bind(COLUMNS.number(act.now_s)?)
    .bind(COLUMNS.to_json(&confirmed.rules)?)
    .bind(COLUMNS.to_json(&confirmed.effects)?)
    .bind(id.as_str())
    .bind(name)
    .execute(change.connection())
    .await?;
    let Confirmed { digest, class, rules, effects } = confirmed.clone();
    let by = act.by.to_owned();
    let approved = Approved { digest, class, rules, effects, by, at_s: act.now_s };
    Ok(Tool { approved: Some(approved), ..tool })
}

/// Definitions that the registry does not have as they are: first those of known tools, then new
/// ones, as many as find a place, and how many do not. A hostile server must not fill the disk.
fn new_among<'a>(server: &McpServer, seen: &'a [SeenTool]) -> (Vec<&'a SeenTool>, usize) {
    let known = |tool: &SeenTool| server.tools.get(&tool.name);
    let is_news = |tool: &&SeenTool| known(tool).is_none_or(|known| known.digest != tool.digest);
    let (mut news, added): (Vec<&SeenTool>, Vec<&SeenTool>) =
        seen.iter().filter(is_news).partition(|tool| known(tool).is_some());
    let places = SERVER_TOOLS_MAX.saturating_sub(server.tools.len());
    let left_out = added.len().saturating_sub(places);
    news.extend(added.into_iter().take(places));
    (news, left_out)
}

async fn write_seen(
    connection: &mut AnyConnection,
    id: &ServerId,
    tool: &SeenTool,
    seen_s: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tools (server, name, definition, digest, proposed_class, seen_s)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (server, name) DO UPDATE SET definition = excluded.definition,
         digest = excluded.digest, proposed_class = excluded.proposed_class,
         seen_s = excluded.seen_s",
    )
    .bind(id.as_str())
    .bind(&tool.name)
    .bind(&tool.definition)
    .bind(attorn_jose::base64url(&tool.digest))
    .bind(tool.proposed_class.as_str())
    .bind(seen_s)
    .execute(connection)
    .await?;
    Ok(())
}

/// One tool, whatever else its server has.
async fn tool_named(
    connection: &mut AnyConnection,
    id: &ServerId,
    name: &str,
) -> Result<Tool, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT server, name, definition, digest, proposed_class, seen_s, approved_digest,
         approved_class, approved_by, approved_s, approved_rules, approved_effects
         FROM tools WHERE server = $1 AND name = $2",
    )
    .bind(id.as_str())
    .bind(name)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        server_by_id(connection, id).await?;
        return Err(Refusal::ToolUnknown.into());
    };
    Ok(row.read()?.1)
}

pub(crate) async fn tools_of(
    connection: &mut AnyConnection,
    id: &ServerId,
) -> Result<Vec<Tool>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT server, name, definition, digest, proposed_class, seen_s, approved_digest,
         approved_class, approved_by, approved_s, approved_rules, approved_effects
         FROM tools WHERE server = $1 ORDER BY name",
    )
    .bind(id.as_str())
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| row.read().map(|(_, tool)| tool)).collect()
}

pub(crate) async fn all_tools(
    connection: &mut AnyConnection,
) -> Result<Vec<(ServerId, Tool)>, Failure> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT server, name, definition, digest, proposed_class, seen_s, approved_digest,
         approved_class, approved_by, approved_s, approved_rules, approved_effects
         FROM tools ORDER BY server, name",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

row! {
    server: String,
    name: String,
    definition: String,
    digest: String,
    proposed_class: String,
    seen_s: i64,
    approved_digest: Option<String>,
    approved_class: Option<String>,
    approved_by: Option<String>,
    approved_s: Option<i64>,
    approved_rules: Option<String>,
    approved_effects: Option<String>,
}

impl Row {
    fn read(self) -> Result<(ServerId, Tool), Failure> {
        let parts = (self.approved_digest, self.approved_class, self.approved_by, self.approved_s);
        let approved = match parts {
            (None, None, None, None) => None,
            (Some(digest), Some(class), Some(by), Some(at_s)) => Some(Approved {
                digest: COLUMNS.digest(&digest)?,
                class: COLUMNS.class(&class)?,
                // Approvals from before there were rules have none.
                rules: COLUMNS.maybe_json(self.approved_rules.as_deref())?.unwrap_or_default(),
                effects: COLUMNS.maybe_json(self.approved_effects.as_deref())?.unwrap_or_default(),
                by,
                at_s: COLUMNS.count(at_s)?,
            }),
            // Half an approval is none, and a sign that somebody wrote past us.
            (..) => return Err(Failure::Record { table: COLUMNS.0 }),
        };
        let tool = Tool {
            name: self.name,
            definition: self.definition,
            digest: COLUMNS.digest(&self.digest)?,
            approved,
            proposed_class: COLUMNS.class(&self.proposed_class)?,
            seen_s: COLUMNS.count(self.seen_s)?,
        };
        Ok((COLUMNS.parse(&self.server)?, tool))
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::ToolState;

    use super::*;
    use crate::fixtures::{World, act};

    fn seen(name: &str, digest: u8) -> SeenTool {
        SeenTool {
            name: name.into(),
            definition: format!("{{\"n\":{digest}}}"),
            digest: [digest; 32],
            proposed_class: Class::Write,
        }
    }

    async fn state(world: &World, name: &str) -> ToolState {
        world.store.server(&world.server).await.unwrap().tools[name].state()
    }

    #[tokio::test]
    async fn only_news_is_recorded() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        let tools = [seen("a", 1), seen("b", 1)];
        let first = store.record_seen_tools(&act(1), id, &tools).await.unwrap().unwrap();
        assert_eq!(first.record.len(), 2);
        let version = store.version().await.unwrap();
        assert_eq!(store.record_seen_tools(&act(2), id, &tools).await.unwrap(), None);
        assert_eq!(store.version().await.unwrap(), version);
        let tools = [seen("a", 2), seen("b", 1)];
        let next = store.record_seen_tools(&act(3), id, &tools).await.unwrap().unwrap();
        assert_eq!(next.record.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[tokio::test]
    async fn what_would_be_recorded_is_told_first_and_not_recorded_yet() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        store.record_seen_tools(&act(1), id, &[seen("a", 1), seen("b", 1)]).await.unwrap();
        let plain = Confirmed::plain([1; 32], Class::Read);
        store.approve_tool(&act(2), id, "a", &plain).await.unwrap();
        let version = store.version().await.unwrap();
        let listed = [seen("a", 2), seen("b", 1), seen("c", 1)];
        let new = store.new_definitions(id, &listed).await.unwrap();
        let told: Vec<_> =
            new.taken.iter().map(|it| (it.tool.name.as_str(), it.was_approved)).collect();
        assert_eq!(told, [("a", true), ("c", false)]);
        assert_eq!(store.version().await.unwrap(), version);
        store.record_seen_tools(&act(3), id, &listed).await.unwrap();
        let none = NewDefinitions { taken: vec![], left_out: 0 };
        assert_eq!(store.new_definitions(id, &listed).await.unwrap(), none);
    }

    #[tokio::test]
    async fn a_changed_definition_waits_again() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        store.record_seen_tools(&act(1), id, &[seen("a", 1)]).await.unwrap();
        assert_eq!(state(&world, "a").await, ToolState::Unconfirmed);
        store
            .approve_tool(&act(2), id, "a", &Confirmed::plain([1; 32], Class::Read))
            .await
            .unwrap();
        assert_eq!(state(&world, "a").await, ToolState::Approved(Class::Read));
        store.record_seen_tools(&act(3), id, &[seen("a", 2)]).await.unwrap();
        assert_eq!(state(&world, "a").await, ToolState::Changed);
        let texts = store.tool_definitions(id, "a").await.unwrap();
        assert_eq!(texts.approved.as_deref(), Some("{\"n\":1}"));
        assert_eq!(texts.current, "{\"n\":2}");
        store
            .approve_tool(&act(4), id, "a", &Confirmed::plain([2; 32], Class::Write))
            .await
            .unwrap();
        assert_eq!(state(&world, "a").await, ToolState::Approved(Class::Write));
    }

    #[tokio::test]
    async fn nobody_approves_what_they_have_not_seen() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        store.record_seen_tools(&act(1), id, &[seen("a", 1)]).await.unwrap();
        let stale =
            store.approve_tool(&act(2), id, "a", &Confirmed::plain([9; 32], Class::Read)).await;
        assert!(matches!(stale, Err(StoreError::Refused(Refusal::DefinitionStale))));
        let unknown =
            store.approve_tool(&act(2), id, "A", &Confirmed::plain([1; 32], Class::Read)).await;
        assert!(matches!(unknown, Err(StoreError::Refused(Refusal::ToolUnknown))));
        assert_eq!(state(&world, "a").await, ToolState::Unconfirmed);
    }

    #[tokio::test]
    async fn a_server_has_a_bounded_number_of_tools() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        let many: Vec<_> = (0..=SERVER_TOOLS_MAX).map(|n| seen(&format!("t{n}"), 1)).collect();
        let new = store.new_definitions(id, &many).await.unwrap();
        assert_eq!((new.taken.len(), new.left_out), (SERVER_TOOLS_MAX, 1));
        store.record_seen_tools(&act(1), id, &many).await.unwrap();
        assert_eq!(store.server(id).await.unwrap().tools.len(), SERVER_TOOLS_MAX);
        // What is left out is no news, and no change.
        let version = store.version().await.unwrap();
        assert_eq!(store.record_seen_tools(&act(2), id, &many).await.unwrap(), None);
        assert_eq!(store.version().await.unwrap(), version);
    }

    #[tokio::test]
    async fn a_tool_too_many_hides_no_change_of_a_known_one() {
        let world = World::new().await;
        let (store, id) = (&world.store, &world.server);
        let many: Vec<_> = (0..SERVER_TOOLS_MAX).map(|n| seen(&format!("t{n}"), 1)).collect();
        store.record_seen_tools(&act(1), id, &many).await.unwrap();
        let plain = Confirmed::plain([1; 32], Class::Read);
        store.approve_tool(&act(2), id, "t7", &plain).await.unwrap();
        let listed = [seen("new", 1), seen("t7", 2)];
        let new = store.new_definitions(id, &listed).await.unwrap();
        let changed = NewDefinition { tool: seen("t7", 2), was_approved: true };
        assert_eq!(new, NewDefinitions { taken: vec![changed], left_out: 1 });
        store.record_seen_tools(&act(3), id, &listed).await.unwrap();
        assert_eq!(state(&world, "t7").await, ToolState::Changed);
        let server = store.server(id).await.unwrap();
        assert_eq!(
            (server.tools.len(), server.tools.contains_key("new")),
            (SERVER_TOOLS_MAX, false)
        );
    }
}
