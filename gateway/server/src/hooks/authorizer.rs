//! Authorizers: rules that stand at channels and patterns.

use super::{Attempt, Eventually, Operation};
use crate::channel::ChannelSetup;
use bayeux::reply::Refusal;
use bytestring::ByteString;
use std::sync::Arc;

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, unless another denies it.
    Grant,
    /// Neither yes nor no.
    Ignore,
    /// No, whatever others say, for that reason.
    Deny(ByteString),
}

/// Says whether a session may create, subscribe or publish (CometD's `Authorizer`). It stands at a channel or pattern
/// ([`crate::ServerChannel::add_authorizer`]) and is asked for every channel that this reaches; never for meta channels.
///
/// Of all that are asked, from `/**` to the channel itself: one [`Verdict::Deny`] denies, and ends the asking; without any,
/// one [`Verdict::Grant`] grants; if all ignore, it is denied as `denied_by_not_granting`. Where there are none, all is
/// granted.
pub trait Authorizer: Send + Sync + 'static {
    /// Its verdict.
    fn authorize<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Verdict>;
}

/// An authorizer of a function.
///
/// ```
/// use bayeux_server::hooks::{Operation, Verdict, authorizer};
/// let own_room = authorizer(|attempt| match &attempt.session.identity().user {
///     Some(user) if attempt.channel.as_str().ends_with(&**user) => Verdict::Grant,
///     _ => Verdict::Ignore,
/// });
/// ```
pub fn authorizer(f: impl Fn(&Attempt<'_>) -> Verdict + Send + Sync + 'static) -> impl Authorizer {
    struct Function<F>(F);
    impl<F: Fn(&Attempt<'_>) -> Verdict + Send + Sync + 'static> Authorizer for Function<F> {
        fn authorize<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Verdict> {
            (self.0)(attempt).into()
        }
    }
    Function(f)
}

/// Grants some operations and ignores the others (CometD's `GrantAuthorizer`). With no operations it is the gate that
/// makes everything below it need a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant(Vec<Operation>);

impl Grant {
    /// Grants everything.
    pub fn all() -> Self {
        Grant(vec![Operation::Create, Operation::Subscribe, Operation::Publish])
    }
    /// Grants nothing.
    pub fn none() -> Self {
        Grant(Vec::new())
    }
    /// Grants these.
    pub fn only(operations: &[Operation]) -> Self {
        Grant(operations.to_vec())
    }
}

impl Authorizer for Grant {
    fn authorize<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Verdict> {
        if self.0.contains(&attempt.operation) { Verdict::Grant.into() } else { Verdict::Ignore.into() }
    }
}

/// Asks those of the channels that reach the attempt's, from the root to the channel itself.
pub(crate) async fn ask(reaching: &[Arc<ChannelSetup>], attempt: &Attempt<'_>) -> Result<(), Refusal> {
    let (mut asked, mut granted) = (false, false);
    for (_, authorizer) in reaching.iter().flat_map(|setup| setup.authorizers.iter()) {
        asked = true;
        match authorizer.authorize(attempt).await {
            Verdict::Grant => granted = true,
            Verdict::Ignore => {}
            Verdict::Deny(reason) => return Err(attempt.denied_for(&reason)),
        }
    }
    if granted || !asked { Ok(()) } else { Err(attempt.denied_for("denied_by_not_granting")) }
}
