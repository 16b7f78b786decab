//! Data filters: rewrite what clients publish, or refuse it (CometD's `DataFilterMessageListener`).

use super::{ChannelListener, Eventually, Flow};
use crate::session::LiveSession;
use bayeux::channel::{ChannelName, Class};
use bayeux::message::Message;
use regex::Regex;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// The message is not to go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data was refused: {0}")]
pub struct Abort(pub String);

/// Changes a message's `data`.
pub trait DataFilter: Send + Sync + 'static {
    /// Changes the data in place.
    ///
    /// # Errors
    /// [`Abort`]: the message is vetoed.
    fn filter(&self, from: Option<&Arc<LiveSession>>, channel: &ChannelName, data: &mut Value) -> Result<(), Abort>;
}

/// A filter that looks at every string in the data, however deep. Names of fields stay.
pub trait JsonFilter: Send + Sync + 'static {
    /// The string to stand in the place of this one.
    ///
    /// # Errors
    /// [`Abort`]: the message is vetoed.
    fn string<'s>(&self, string: &'s str) -> Result<Cow<'s, str>, Abort>;
}

impl<F: JsonFilter> DataFilter for F {
    fn filter(&self, _: Option<&Arc<LiveSession>>, _: &ChannelName, data: &mut Value) -> Result<(), Abort> {
        strings(data, &mut |string| self.string(string).map(|changed| changed.into_owned()))
    }
}

/// Has every string of the value, however deep, changed by `f`. The way of a [`DataFilter`] of one's own.
///
/// # Errors
/// What `f` says.
pub fn strings(value: &mut Value, f: &mut dyn FnMut(&str) -> Result<String, Abort>) -> Result<(), Abort> {
    // As deep as the value is; serde_json reads none that is deeper than 128.
    match value {
        Value::String(string) => *string = f(string)?,
        Value::Array(values) => values.iter_mut().try_for_each(|value| strings(value, f))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|value| strings(value, f))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// Filters as a listener of a channel or pattern, applied in order. A message without data is vetoed, as CometD does;
/// data that no filter changes stays byte for byte.
///
/// ```
/// use bayeux_server::hooks::{Filters, NoMarkup, RegexFilter};
/// let filters = Filters::new().with(NoMarkup).with(RegexFilter::new([("[Dd]arn", Some("****"))]).unwrap());
/// ```
#[derive(Default)]
pub struct Filters(Vec<Box<dyn DataFilter>>);

impl Filters {
    /// None yet.
    pub fn new() -> Self {
        Filters::default()
    }

    /// With one more, behind the others.
    pub fn with(mut self, filter: impl DataFilter) -> Self {
        self.0.push(Box::new(filter));
        self
    }
}

impl ChannelListener for Filters {
    fn message<'a>(
        &'a self,
        from: Option<&'a Arc<LiveSession>>,
        channel: &'a ChannelName,
        message: &'a mut Message,
    ) -> Eventually<'a, Flow> {
        if channel.class() == Class::Meta {
            return Flow::Pass.into(); // of a filter at `/**`: they have no data
        }
        let Some(before) = message.data_as::<Value>().filter(|data| !data.is_null()) else {
            return Flow::Veto.into();
        };
        let mut data = before.clone();
        for filter in &self.0 {
            if let Err(why) = filter.filter(from, channel, &mut data) {
                tracing::debug!(%channel, %why, "publish vetoed by a filter");
                return Flow::Veto.into();
            }
        }
        if data != before {
            message.set_data(&data);
        }
        Flow::Pass.into()
    }
}

/// No markup: `<` and `>` become `&lt;` and `&gt;`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMarkup;

impl JsonFilter for NoMarkup {
    fn string<'s>(&self, string: &'s str) -> Result<Cow<'s, str>, Abort> {
        Ok(match string.contains(['<', '>']) {
            true => string.replace('<', "&lt;").replace('>', "&gt;").into(),
            false => string.into(),
        })
    }
}

/// No scripts: `<script` and `script>` become `<span` and `span>`, in any case and with spaces.
#[derive(Debug, Clone)]
pub struct NoScripts(RegexFilter);

impl Default for NoScripts {
    fn default() -> Self {
        let rules = [(r"(?i)<\s*script", Some("<span")), (r"(?i)script\s*>", Some("span>"))];
        NoScripts(RegexFilter::new(rules).unwrap_or_else(|_| unreachable!("both expressions are good")))
    }
}

impl JsonFilter for NoScripts {
    fn string<'s>(&self, string: &'s str) -> Result<Cow<'s, str>, Abort> {
        self.0.string(string)
    }
}

/// Replaces what matches an expression, or refuses a message of which a whole string matches (CometD's `RegexFilter`).
#[derive(Debug, Clone)]
pub struct RegexFilter(Vec<(Regex, Option<String>)>);

impl RegexFilter {
    /// Rules, applied in order: an expression and what stands in the place of each match (`$1` is its first group), or
    /// `None` to refuse a message of which a whole string matches.
    ///
    /// # Errors
    /// When an expression is none.
    pub fn new<'r>(rules: impl IntoIterator<Item = (&'r str, Option<&'r str>)>) -> Result<Self, regex::Error> {
        let compile = |(expression, replacement): (&str, Option<&str>)| match replacement {
            Some(replacement) => Ok((Regex::new(expression)?, Some(replacement.to_owned()))),
            None => Ok((Regex::new(&format!(r"\A(?:{expression})\z"))?, None)),
        };
        rules.into_iter().map(compile).collect::<Result<_, _>>().map(RegexFilter)
    }
}

impl JsonFilter for RegexFilter {
    fn string<'s>(&self, string: &'s str) -> Result<Cow<'s, str>, Abort> {
        let mut string = Cow::Borrowed(string);
        for (expression, replacement) in &self.0 {
            match replacement {
                Some(replacement) => {
                    if let Cow::Owned(changed) = expression.replace_all(&string, replacement) {
                        string = changed.into();
                    }
                }
                None if expression.is_match(&string) => return Err(Abort(format!("it matches {expression}"))),
                None => {}
            }
        }
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filtered(filter: &impl DataFilter, mut data: Value) -> Result<Value, Abort> {
        filter.filter(None, &ChannelName::parse(&"/a".into()).unwrap(), &mut data).map(|()| data)
    }

    #[test]
    fn strings_are_changed_however_deep_and_names_and_numbers_are_not() {
        let data = json!({"<b>": ["<i>", {"deep": "a<b"}, 1.5, null, true]});
        let expected = json!({"<b>": ["&lt;i&gt;", {"deep": "a&lt;b"}, 1.5, null, true]});
        assert_eq!(filtered(&NoMarkup, data), Ok(expected));
    }

    #[test]
    fn scripts_become_harmless() {
        let data = json!("< ScRiPt src=x>alert()</script >");
        assert_eq!(filtered(&NoScripts::default(), data), Ok(json!("<span src=x>alert()</span>")));
    }

    #[test]
    fn expressions_replace_and_refuse() {
        let filter = RegexFilter::new([("(b)ad", Some("$1**")), ("spam.*", None)]).unwrap();
        assert_eq!(filtered(&filter, json!("bad bad")), Ok(json!("b** b**")));
        assert_eq!(filtered(&filter, json!("no spam")), Ok(json!("no spam")), "only a whole string is refused");
        assert!(filtered(&filter, json!({"a": ["spam and eggs"]})).is_err());
        assert!(RegexFilter::new([("(", None)]).is_err());
    }
}
