//! `seatrial policy`: what is allowed here.

use anyhow::Result;
use jiff::Timestamp;
use seatrial_policy::Policy;

use crate::{cli::PolicyCommand, config::Config};

/// Shows or checks the policy.
pub(crate) fn run(config: &Config, what: &PolicyCommand) -> Result<u8> {
    match what {
        PolicyCommand::Show { default: true, .. } => super::print(seatrial_policy::DEFAULT_TOML),
        PolicyCommand::Show { policy, default: false } => {
            let policy = super::policy(config, policy.as_deref())?;
            super::print(&policy.to_toml());
        }
        PolicyCommand::Check { file } => {
            let policy: Policy = super::policy(config, Some(file))?;
            let now = Timestamp::now();
            for waiver in policy.expired_waivers(now) {
                super::print(&format!(
                    "warning: the waiver of {} expired on {}; owner: {}",
                    waiver.rule, waiver.expires, waiver.owner
                ));
            }
            super::print(&format!("{}: the policy can be used", file.display()));
        }
    }
    Ok(0)
}
