//! Lines of bounded length from a pipe.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Why no further line can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    /// The pipe ended.
    End,
    /// The line is longer than allowed.
    TooLong,
}

/// Reads one line into `line`, without its end. What follows the last line end is no line.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(
    pipe: &mut R,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), LineFault> {
    line.clear();
    loop {
        let held = pipe.fill_buf().await.map_err(|_| LineFault::End)?;
        if held.is_empty() {
            return Err(LineFault::End);
        }
        let end = held.iter().position(|byte| *byte == b'\n');
        let piece = held.get(..end.unwrap_or(held.len())).unwrap_or_default();
        if line.len() + piece.len() > bytes_max {
            return Err(LineFault::TooLong);
        }
        line.extend_from_slice(piece);
        let taken = piece.len() + usize::from(end.is_some());
        pipe.consume(taken);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Passes what a child writes to its standard error to our own log, up to a limit: it is for
/// people, and may hold anything. The rest is read and dropped, or the child would block.
pub(super) async fn log<R: AsyncBufRead + Unpin>(mut pipe: R, program: &str) {
    let mut line = Vec::new();
    let mut left = LOG_BYTES_MAX;
    loop {
        match read_line(&mut pipe, &mut line, LOG_LINE_BYTES_MAX).await {
            Ok(()) if line.len() <= left => {
                left -= line.len();
                // `?` escapes control characters, which could otherwise forge lines of the log.
                tracing::info!(program, text = ?String::from_utf8_lossy(&line), "standard error");
            }
            Ok(()) => {
                if left > 0 {
                    tracing::warn!(program, "standard error is no longer logged");
                }
                left = 0;
            }
            Err(LineFault::TooLong) => tracing::info!(program, "long line on standard error"),
            Err(LineFault::End) => return,
        }
    }
}

const LOG_LINE_BYTES_MAX: usize = 4 << 10;
const LOG_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn lines(mut text: &[u8], bytes_max: usize) -> (Vec<String>, LineFault) {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        loop {
            match read_line(&mut text, &mut line, bytes_max).await {
                Ok(()) => lines.push(String::from_utf8(line.clone()).unwrap()),
                Err(fault) => return (lines, fault),
            }
        }
    }

    #[tokio::test]
    async fn a_line_ends_with_its_line_feed() {
        assert_eq!(
            lines(b"ab\n\ncd\nef", 4).await,
            (vec!["ab".into(), String::new(), "cd".into()], LineFault::End)
        );
        assert_eq!(lines(b"", 4).await, (vec![], LineFault::End));
    }

    #[tokio::test]
    async fn a_line_is_bounded() {
        assert_eq!(lines(b"abcd\nabcde\n", 4).await, (vec!["abcd".into()], LineFault::TooLong));
    }

    /// Keeps what is logged.
    #[derive(Default)]
    struct Kept(std::sync::Mutex<Vec<String>>);

    impl tracing::Subscriber for Kept {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            struct Text(String);
            impl tracing::field::Visit for Text {
                fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    self.0.push_str(&format!("{value:?} "));
                }
            }
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test]
    async fn standard_error_is_escaped_and_bounded() {
        let kept = std::sync::Arc::new(Kept::default());
        let guard = tracing::subscriber::set_default(std::sync::Arc::clone(&kept));
        let escape: &[u8] = b"plain \x1b[2J\x1b]0;title\x07 \xff\r\n";
        let many = [&[b'x'; 4_000][..], b"\n"].concat().repeat(100);
        // All of it is read, or the child would block.
        log(escape.chain(many.as_slice()), "child").await;
        drop(guard);
        let kept = kept.0.lock().unwrap();
        assert!(kept[0].contains(r"plain \u{1b}[2J\u{1b}]0;title\u{7}"), "{}", kept[0]);
        assert!(kept.iter().all(|line| !line.contains(['\u{1b}', '\r', '\u{7}'])));
        let bytes: usize = kept.iter().map(String::len).sum();
        assert!((200 << 10..300 << 10).contains(&bytes), "{bytes}");
        assert!(kept.last().unwrap().contains("no longer logged"));
    }
}
