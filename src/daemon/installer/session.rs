//! One connection: who is it, what does it ask for, may it. Nothing is obeyed before all three are answered.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use crate::downstream::file::Digest;
use crate::downstream::installer::member::check_member;
use crate::downstream::installer::settings::{Place, Settings, Target};
use crate::downstream::installer::wire::{
    Answer, Ask, Class, Greeting, Line, REQUEST_TIME_MAX, Refusal, Request, VERSION,
};
use crate::model::TargetName;
use crate::telemetry::escape;

use super::act::Act;

/// Serves one connection to its end.
pub(super) fn serve(
    settings: &Settings,
    locks: &BTreeMap<TargetName, Mutex<()>>,
    stream: &UnixStream,
    is_full: bool,
) {
    let line = Line::new(stream, REQUEST_TIME_MAX);
    let session = match admit(settings, stream, is_full) {
        Ok(session) => session,
        Err(why) => {
            tracing::warn!(%why, "refused a connection");
            let refused = Greeting { version: VERSION, session: String::new(), refused: Some(why) };
            let _gone = line.send(&refused);
            return;
        }
    };
    if line.send(&Greeting { version: VERSION, session: session.clone(), refused: None }).is_err() {
        return;
    }
    let answer = match line.receive::<Request>() {
        Ok(request) => {
            let answer = obey(settings, locks, &line, &session, &request);
            told(&request, &answer);
            answer
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let answer =
                refused(Class::Operator, format!("this is no request of version {VERSION}: {error}"));
            tracing::warn!(%error, "refused a request that is none");
            answer
        }
        Err(error) => {
            tracing::debug!(%error, "a connection ended without a request");
            return;
        }
    };
    // The time for the answer begins anew: commands may have run.
    if let Err(error) = Line::new(stream, REQUEST_TIME_MAX).send(&answer) {
        tracing::warn!(%error, "the answer could not be sent; the daemon will ask again");
    }
}

/// The session's mark for the daemon's user, a refusal for anybody else.
fn admit(settings: &Settings, stream: &UnixStream, is_full: bool) -> Result<String, String> {
    let user = &settings.user;
    let peer = rustix::net::sockopt::socket_peercred(stream)
        .map_err(|error| format!("the kernel does not say who asks: {error}"))?;
    if peer.uid.as_raw() != user.uid {
        return Err(format!(
            "user {} may not ask, only user {} ({}), as `user` in the installer's config says",
            peer.uid.as_raw(),
            user.uid,
            escape(&user.name)
        ));
    }
    if is_full {
        return Err("too many connections at once; try again".to_owned());
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(format!("{:032x}", u128::from_le_bytes(random)))
}

fn refused(class: Class, message: String) -> Answer {
    Answer::Refused(Refusal { class, message, ran: None })
}

fn obey(
    settings: &Settings,
    locks: &BTreeMap<TargetName, Mutex<()>>,
    line: &Line<'_>,
    session: &str,
    request: &Request,
) -> Answer {
    let (target, lock) = match judge(settings, locks, session, request) {
        Ok(found) => found,
        Err(why) => return refused(Class::Operator, why),
    };
    let bytes = match bytes(target, line, &request.ask) {
        Ok(bytes) => bytes,
        Err(answer) => return *answer,
    };
    // A panic of another connection leaves no half-written state that the next act could not mend.
    let _alone = lock.lock().unwrap_or_else(PoisonError::into_inner);
    Act::new(settings, target, request.member.as_deref()).run(&request.ask, &bytes)
}

/// The target asked for, if version, session, target and member are such as root's config lets through.
fn judge<'a>(
    settings: &'a Settings,
    locks: &'a BTreeMap<TargetName, Mutex<()>>,
    session: &str,
    request: &Request,
) -> Result<(&'a Target, &'a Mutex<()>), String> {
    if request.version != VERSION {
        return Err(format!("the request is of version {}, this is {VERSION}", request.version));
    }
    if request.session != session {
        return Err("the request was made for another connection".to_owned());
    }
    let name = TargetName::parse(&request.target).ok();
    let found = name.and_then(|name| Some((settings.targets.get(&name)?, locks.get(&name)?)));
    let Some((target, lock)) = found else {
        let target = escape(&request.target);
        return Err(format!("the installer's config has no target `{target}`; add it to installer.toml"));
    };
    match (&target.place, &request.member, &request.ask) {
        (_, None, Ask::Reload) | (Place::File(_), None, _) => {}
        (Place::File(_), Some(_), _) => {
            return Err(format!("target `{}` is one file and has no members", target.name));
        }
        (Place::Tree { .. }, None, _) => {
            return Err(format!("target `{}` is a tree; the request names no member", target.name));
        }
        (Place::Tree { members, .. }, Some(member), _) => {
            check_member(member).and_then(|()| members.permit_file(member)).map_err(|why| {
                let member = escape(member);
                format!(
                    "target `{}` may have no file `{member}`: {why}; see `members` in installer.toml",
                    target.name
                )
            })?;
        }
    }
    Ok((target, lock))
}

/// The bytes that follow an `apply`: as many as it said and the target may have, and those that it meant.
fn bytes(target: &Target, line: &Line<'_>, ask: &Ask) -> Result<Vec<u8>, Box<Answer>> {
    let refused = |class, message| Box::new(refused(class, message));
    let Ask::Apply { length, sha256, .. } = ask else { return Ok(Vec::new()) };
    if *length > target.bytes_max {
        let (name, most) = (&target.name, target.bytes_max);
        return Err(refused(
            Class::Operator,
            format!(
                "{length} bytes for target `{name}`, which may have {most}; see `max_bytes` in installer.toml"
            ),
        ));
    }
    let length = usize::try_from(*length).unwrap_or(usize::MAX);
    let bytes = line
        .take(length)
        .map_err(|error| refused(Class::Transient, format!("the bytes did not arrive: {error}")))?;
    if Digest::of(&bytes).to_string() != *sha256 {
        return Err(refused(
            Class::Transient,
            "the bytes that arrived are not those that were sent".to_owned(),
        ));
    }
    Ok(bytes)
}

/// One line for each request that did something or was refused.
fn told(request: &Request, answer: &Answer) {
    let (target, member) = (escape(&request.target), escape(request.member.as_deref().unwrap_or_default()));
    match answer {
        Answer::Refused(Refusal { message, .. }) => {
            tracing::warn!(%target, %member, why = %escape(message), "refused");
        }
        Answer::Swapped { .. } => tracing::info!(%target, %member, "written"),
        Answer::Removed { .. } => tracing::info!(%target, %member, "removed"),
        Answer::Reloaded { ran: Some(ran) } => tracing::info!(%target, ended = ?ran.ended, "reloaded"),
        Answer::Linked { is_new: true, .. } => tracing::info!(%target, %member, "linked"),
        _ => tracing::debug!(%target, %member, "nothing to do"),
    }
}
