//! What is shown while the service runs: a table that is redrawn in place on a terminal, lines on changes elsewhere.

use std::io::{IsTerminal as _, Stdout, Write as _};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::terminal::{Clear, ClearType};

use super::table::{self, Row};

/// Width that is assumed when the terminal does not tell.
const WIDTH: u16 = 80;

/// The screen.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Stdout,
    is_terminal: bool,
    /// Lines of the table that stand at the end of the screen.
    drawn: u16,
    /// State of each process as last told.
    told: Vec<String>,
}

impl Screen {
    /// Standard output.
    pub(crate) fn new() -> Self {
        let out = std::io::stdout();
        Self { is_terminal: out.is_terminal(), out, drawn: 0, told: Vec::new() }
    }

    /// Prints text that stays, above the table.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        self.line(text);
    }

    /// Shows the processes. Without a terminal only what changed is told.
    pub(crate) fn show(&mut self, rows: &[Row]) {
        if self.is_terminal {
            let (width, height) = crossterm::terminal::size().unwrap_or((WIDTH, u16::MAX));
            let mut lines = table::render(rows, usize::from(width.max(1)));
            // Lines that have left the screen cannot be redrawn.
            lines.truncate(usize::from(height.saturating_sub(1)));
            self.clear();
            for line in &lines {
                self.line(line);
            }
            self.drawn = lines.len() as u16;
            return;
        }
        let mut told = std::mem::take(&mut self.told);
        // What has never been up need not be told to be down.
        told.resize(rows.len(), table::DOWN.to_owned());
        for (row, told) in rows.iter().zip(&mut told) {
            // Progress would be a line every moment.
            let state = table::state(row);
            let phase = state.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '%' | ' '));
            if phase != told.as_str() {
                self.line(&format!("{}: {state}", row.name));
                phase.clone_into(told);
            }
        }
        self.told = told;
    }

    fn line(&mut self, text: &str) {
        // Whoever read this may be gone; the service goes on.
        let _ = writeln!(self.out, "{text}");
    }

    /// Takes the table off the screen, to leave it as text above.
    pub(crate) fn clear(&mut self) {
        if self.drawn > 0 {
            let up = MoveToPreviousLine(self.drawn);
            let _ = crossterm::execute!(self.out, up, Clear(ClearType::FromCursorDown));
            self.drawn = 0;
        }
    }
}
