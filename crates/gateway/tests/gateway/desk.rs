//! A desk for approvals in memory, by the rules of the registry.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use attorn_gateway::{ApprovalDesk, DeskSilent, UseAnswer};
use attorn_policy::GivenApproval;
use attorn_registry::{
    AnswersForAgent, Approval, ApprovalAnswer, ApprovalId, ApprovalState, Approver, ApproverKind,
    AskedCall, ReasonCode,
};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) approvals: Mutex<Vec<Approval>>,
    pub(crate) asked: Mutex<Vec<AskedCall>>,
    /// Says nothing any more.
    pub(crate) is_silent: AtomicBool,
    /// Says nothing of uses any more, which happen all the same.
    pub(crate) loses_answers: AtomicBool,
    /// Says that it was asked for a use, and answers when it is told to.
    pub(crate) waits: AtomicBool,
    pub(crate) reached: Notify,
    pub(crate) go: Notify,
    now_s: Arc<AtomicU64>,
}

const BOB: Approver<'_> = Approver {
    id: "bob",
    kind: ApproverKind::Operator,
    owner: None,
    behind: std::collections::BTreeSet::new(),
    unbound: false,
    answers_for_agent: AnswersForAgent::No,
};

impl Desk {
    pub(crate) fn new(now_s: Arc<AtomicU64>) -> Self {
        Self {
            approvals: Mutex::default(),
            asked: Mutex::default(),
            is_silent: AtomicBool::default(),
            loses_answers: AtomicBool::default(),
            waits: AtomicBool::default(),
            reached: Notify::new(),
            go: Notify::new(),
            now_s,
        }
    }

    fn now_s(&self) -> u64 {
        self.now_s.load(Ordering::SeqCst)
    }

    /// Has somebody say yes to the last one, and gives what is in force then.
    pub(crate) fn approve_last(&self) -> Vec<Approval> {
        let now_s = self.now_s();
        self.change_last(|last| last.approve(&BOB, "fine", now_s).unwrap())
    }

    pub(crate) fn deny_last(&self) -> Vec<Approval> {
        let now_s = self.now_s();
        self.change_last(|last| last.deny(&BOB, "not this month", now_s).unwrap())
    }

    fn change_last(&self, change: impl FnOnce(&Approval) -> Approval) -> Vec<Approval> {
        {
            let mut approvals = self.approvals.lock().unwrap();
            let last = approvals.last_mut().unwrap();
            *last = change(last);
        }
        self.in_snapshot()
    }

    /// What a snapshot would hold now.
    pub(crate) fn in_snapshot(&self) -> Vec<Approval> {
        let approvals = self.approvals.lock().unwrap();
        approvals.iter().filter(|one| one.matters(self.now_s())).cloned().collect()
    }

    fn answer(&self, asked: &AskedCall) -> ApprovalAnswer {
        let now_s = self.now_s();
        let mut approvals = self.approvals.lock().unwrap();
        let of_call = |one: &&Approval| one.call == asked.call;
        if let Some(named) = &asked.named {
            let known = approvals.iter().find(|one| one.id == *named).filter(of_call);
            return known.map_or_else(changed, |one| stands(one, now_s));
        }
        let is_open = |one: &&Approval| one.matters(now_s) || one.is_open(now_s);
        if let Some(open) = approvals.iter().filter(of_call).find(is_open) {
            return stands(open, now_s);
        }
        let serial = u8::try_from(approvals.len()).unwrap();
        let new = Approval {
            id: ApprovalId::from_random(&[serial; 16]),
            call: asked.call.clone(),
            excluded: Vec::new(),
            asked_s: now_s,
            expires_s: now_s + 1800,
            state: ApprovalState::Pending { first: None },
        };
        let answer = ApprovalAnswer { reason: ReasonCode::ApprovalRequired, ..stands(&new, now_s) };
        approvals.push(new);
        answer
    }
}

fn changed() -> ApprovalAnswer {
    let reason = ReasonCode::ApprovalArgumentsChanged;
    ApprovalAnswer { approval: None, expires_s: None, reason, because: None }
}

fn stands(approval: &Approval, now_s: u64) -> ApprovalAnswer {
    ApprovalAnswer {
        approval: Some(approval.id.clone()),
        expires_s: Some(approval.expires_s),
        reason: approval.standing(now_s).reason(),
        because: match &approval.state {
            ApprovalState::Denied { word } => Some(word.reason.clone()),
            ApprovalState::Approved { .. }
            | ApprovalState::Expired
            | ApprovalState::Pending { .. }
            | ApprovalState::Used { .. } => None,
        },
    }
}

impl ApprovalDesk for Desk {
    fn ask(
        &self,
        asked: AskedCall,
    ) -> Pin<Box<dyn Future<Output = Result<ApprovalAnswer, DeskSilent>> + Send + '_>> {
        Box::pin(async move {
            if self.is_silent.load(Ordering::SeqCst) {
                return Err(DeskSilent);
            }
            let answer = self.answer(&asked);
            self.asked.lock().unwrap().push(asked);
            Ok(answer)
        })
    }

    fn use_up(
        &self,
        given: GivenApproval,
        decision: String,
    ) -> Pin<Box<dyn Future<Output = Result<UseAnswer, DeskSilent>> + Send + '_>> {
        Box::pin(async move {
            if self.is_silent.load(Ordering::SeqCst) {
                return Err(DeskSilent);
            }
            if self.waits.load(Ordering::SeqCst) {
                self.reached.notify_one();
                self.go.notified().await;
            }
            let now_s = self.now_s();
            let mut approvals = self.approvals.lock().unwrap();
            let known = approvals.iter_mut().find(|one| one.id == given.id).unwrap();
            match known.use_once(&given.call, &decision, now_s) {
                Ok(used) => *known = used,
                Err(refusal) => return Ok(UseAnswer::Refused(refusal.reason())),
            }
            if self.loses_answers.load(Ordering::SeqCst) {
                Err(DeskSilent)
            } else {
                Ok(UseAnswer::Used)
            }
        })
    }
}
