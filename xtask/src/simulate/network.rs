//! Questions and answers under way: late, lost, or twice.

use super::dice::Dice;

/// A gateway asks from the version it has in force.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) gateway: usize,
    pub(super) after: u64,
    pub(super) nonce: String,
    pub(super) asked_ms: u64,
}

/// What the authority says to one question.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) to: Question,
    pub(super) message: String,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Question(Question),
    Answer(Answer),
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Network {
    messages: Vec<(u64, Message)>,
    /// Gateways that are cut off from the authority.
    cut: Vec<usize>,
    /// Nothing is late, lost or doubled any more.
    pub(super) healed: bool,
}

impl Message {
    fn gateway(&self) -> usize {
        match self {
            Self::Question(question) => question.gateway,
            Self::Answer(answer) => answer.to.gateway,
        }
    }
}

impl Network {
    pub(super) fn send(&mut self, now_ms: u64, message: Message, dice: &mut Dice) {
        if self.cut.contains(&message.gateway()) {
            return;
        }
        if self.healed {
            self.messages.push((now_ms + 1, message));
            return;
        }
        if dice.happens(10) {
            return;
        }
        if dice.happens(10) {
            let late = now_ms + 1 + dice.below(20_000);
            self.messages.push((late, message.clone()));
        }
        let usual = 1 + dice.below(40);
        let delay = if dice.happens(15) { dice.below(12_000) } else { usual };
        self.messages.push((now_ms + delay, message));
    }

    /// What has arrived, earliest first. What is under way to or from a gateway that is cut off is
    /// lost.
    pub(super) fn arrived(&mut self, now_ms: u64) -> Vec<Message> {
        let cut = &self.cut;
        let (mut due, later): (Vec<_>, Vec<_>) =
            self.messages.drain(..).partition(|(at_ms, _)| *at_ms <= now_ms);
        due.sort_by_key(|(at_ms, _)| *at_ms);
        due.retain(|(_, message)| !cut.contains(&message.gateway()));
        self.messages = later;
        due.into_iter().map(|(_, message)| message).collect()
    }

    pub(super) fn cut_off(&mut self, gateway: usize) {
        if !self.cut.contains(&gateway) {
            self.cut.push(gateway);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }
}
