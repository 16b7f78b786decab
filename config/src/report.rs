//! Findings with their places, and how they are shown.

use crate::finding::{Finding, Severity};
use crate::layer::{Layer, Origin};
use crate::tree::{At, Node};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use std::fmt;
use std::sync::Arc;

/// A finding and where it is.
#[derive(Debug, Clone)]
pub struct Located {
    /// What was found.
    pub finding: Finding,
    /// Where; absent where there is no place, such as for a file that cannot be read.
    pub place: Option<Place>,
}

/// A place in a file, or the environment variable that made the mistake.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file or variable.
    pub origin: Origin,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The whole line.
    pub text: String,
    source: Arc<str>,
    start: usize,
    len: usize,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// ASCII, for logs and files.
    Plain,
    /// With lines drawn, for a terminal.
    Graphical {
        /// With colours.
        color: bool,
    },
}

impl Style {
    /// What suits an output: lines and colours on a terminal (no colours if `NO_COLOR` is set), else plain.
    pub fn for_output(is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if is_terminal { Style::Graphical { color: !no_color } } else { Style::Plain }
    }
}

/// Findings in the order of their places. `Display` writes it plain; see [`Report::render`].
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The findings.
    pub items: Vec<Located>,
}

impl Report {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the gateway must not start.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.finding.is_error())
    }

    /// How many errors, and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.items.iter().filter(|item| item.finding.is_error()).count();
        (errors, self.items.len() - errors)
    }

    /// Adds the findings of another report.
    pub fn extend(&mut self, other: Report) {
        self.items.extend(other.items);
    }

    /// All findings, each with its line, then how many there are.
    pub fn render(&self, style: Style) -> String {
        let theme = match style {
            Style::Plain => GraphicalTheme::none(),
            Style::Graphical { color: false } => GraphicalTheme::unicode_nocolor(),
            Style::Graphical { color: true } => GraphicalTheme::unicode(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_context_lines(1) // of which `Place` shows the line itself only: others may hold secrets
            .with_links(false)
            .without_syntax_highlighting()
            .with_width(110);
        let mut out = String::new();
        for item in &self.items {
            // Writing to a string does not fail.
            let _ = handler.render_report(&mut out, &Shown(item));
            out.push('\n');
        }
        let (errors, warnings) = self.counts();
        out.push_str(&match (errors, warnings) {
            (0, 0) => "no errors, no warnings\n".to_owned(),
            (0, w) => format!("no errors, {}\n", count(w, "warning")),
            (e, 0) => format!("{}\n", count(e, "error")),
            (e, w) => format!("{}, {}\n", count(e, "error"), count(w, "warning")),
        });
        out
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}

/// A finding, with the place where the loader itself knows it.
pub(crate) struct Placed {
    pub(crate) finding: Finding,
    pub(crate) at: Option<At>,
}

impl From<Finding> for Placed {
    fn from(finding: Finding) -> Self {
        Placed { finding, at: None }
    }
}

/// The texts that findings are in.
#[derive(Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<(Origin, Arc<str>)>);

impl Sources {
    pub(crate) fn of(layers: &[Layer]) -> Self {
        Sources(layers.iter().map(|l| (l.origin.clone(), l.text.as_str().into())).collect())
    }

    pub(crate) fn report(&self, tree: Option<&Node>, findings: impl IntoIterator<Item = Placed>) -> Report {
        let mut items: Vec<(usize, usize, usize, Located)> = findings
            .into_iter()
            .map(|placed| {
                let finding = placed.finding;
                let at = placed.at.or_else(|| Some(tree?.locate(&finding.path, finding.at_key)));
                let place = at.and_then(|at| self.place(at));
                let (line, column) = place.as_ref().map_or((0, 0), |p| (p.line, p.column));
                (at.map_or(0, |at| at.layer), line, column, Located { finding, place })
            })
            .collect();
        items.sort_by_key(|(layer, line, column, _)| (*layer, *line, *column));
        Report { items: items.into_iter().map(|(.., located)| located).collect() }
    }

    fn place(&self, at: At) -> Option<Place> {
        let (origin, source) = self.0.get(at.layer)?;
        let span = at.span?;
        let line_start = source[..span.start].rfind(['\n', '\r']).map_or(0, |i| i + 1);
        let text = source[line_start..].split(['\n', '\r']).next().unwrap_or_default().to_owned();
        Some(Place {
            origin: origin.clone(),
            line: span.line,
            column: span.column,
            text,
            source: Arc::clone(source),
            start: span.start,
            len: span.len,
        })
    }
}

impl Place {
    fn name(&self) -> String {
        match &self.origin {
            Origin::File(file) => file.display().to_string(),
            Origin::Variable(_) => "environment".to_owned(),
            Origin::Override(_) => "command line".to_owned(),
        }
    }
}

impl SourceCode for Place {
    /// With context the whole line, without the exact place.
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        context: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, len, column) = if context == 0 {
            (self.start, self.len, self.column - 1)
        } else {
            let start = self.source[..self.start].rfind(['\n', '\r']).map_or(0, |i| i + 1);
            (start, self.text.len().max(self.start + self.len - start), 0)
        };
        let end = (start + len).min(self.source.len());
        let data = self.source.as_bytes().get(start..end).unwrap_or_default();
        let span = (start, data.len()).into();
        Ok(Box::new(MietteSpanContents::new_named(self.name(), data, span, self.line - 1, column, 1)))
    }
}

/// A finding as miette wants it.
#[derive(Debug)]
struct Shown<'a>(&'a Located);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.0.finding.is_error() { "error" } else { "warning" };
        write!(f, "{severity}: {}", self.0.finding.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.finding.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| place as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(None, (place.start, place.len));
        Some(Box::new(std::iter::once(label)))
    }
}
