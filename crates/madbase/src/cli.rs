//! The command line as types. What a flag does not say, the environment may (`MADBASE_*`); secrets only there.

mod realtime;
mod serving;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::settings::Role;

pub(crate) use self::serving::{Proxy, ReadReplicas, Reader, Start, System, Worker};

/// A Supabase-compatible backend in one binary.
#[derive(Debug, Parser)]
#[command(name = "madbase", version, about, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    /// Print JSON for machines instead of text for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not ask before installing or deleting something.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine, on a PostgreSQL that MadBase runs itself (or the one of `DATABASE_URL`).
    Start(Box<Start>),
    /// Run the control plane of a cluster on the PostgreSQL of `DATABASE_URL`: projects, migrations, nodes.
    System(Box<System>),
    /// Run a proxy of a cluster: the public door with auth; everything else goes to workers.
    Proxy(Box<Proxy>),
    /// Run a worker of a cluster: the data API, on a private address.
    Worker(Box<Worker>),
    /// Say whether it runs, is ready, and where. Exit code 3 when it does not run.
    Status(DataDir),
    /// Stop it: requests in flight finish, then PostgreSQL stops cleanly.
    Stop(DataDir),
    /// Show what a role would start with and where each setting comes from, or check it. Starts nothing.
    Config(Config),
    /// Create, list, show and delete projects; show their keys.
    Project(Project),
    /// Show the nodes of a cluster, let new ones in, drain and remove them.
    Cluster(Cluster),
    /// List the mails that were captured because no SMTP server is configured.
    Inbox(Control),
    /// Serve the data API alone on any PostgreSQL, with PostgREST's settings (`PGRST_*`, or a file).
    Rest(Rest),
    /// Run every check and test of a source checkout.
    Test(Test),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Where everything is kept [default: /var/lib/madbase as root, else ./.madbase].
    #[arg(long, env = "MADBASE_DATA_DIR", value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Rest {
    /// A configuration file as PostgREST has it; `PGRST_*` variables win over it.
    pub(crate) file: Option<PathBuf>,
    /// Serve at /rest/v1 behind MadBase's gateway, as Supabase's clients ask, instead of at /.
    #[arg(long)]
    pub(crate) rest_v1: bool,
    #[command(flatten)]
    pub(crate) replicas: ReadReplicas,
}

/// Where the control plane is, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Control {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// The control plane's address [default: that of the server on --data-dir].
    #[arg(long, env = "MADBASE_CONTROL_URL", value_name = "URL", global = true)]
    pub(crate) control_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Project {
    #[command(flatten)]
    pub(crate) control: Control,
    #[command(subcommand)]
    pub(crate) verb: ProjectVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectVerb {
    /// Create a project: its database, logins, signing and API keys.
    Create {
        /// Short name: a-z, 0-9 and '-'; part of its host name.
        reference: String,
        /// Name for people [default: the short name].
        #[arg(long)]
        name: Option<String>,
    },
    /// List all projects.
    List,
    /// Show one project.
    Show {
        /// Its short name.
        reference: String,
    },
    /// Delete a project with its database and all of its rows.
    Delete {
        /// Its short name.
        reference: String,
    },
    /// Show a project's API keys, or change the keys that sign tokens.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Keys {
        /// Its short name.
        #[arg(required = true)]
        reference: Option<String>,
        /// Print them as SUPABASE_… variables: for `. ./.env` and `node --env-file`.
        #[arg(long, conflicts_with = "json")]
        env: bool,
        #[command(subcommand)]
        verb: Option<KeysVerb>,
    },
    /// Show or change a project's settings; a change counts at once, everywhere, and is in the audit log.
    Settings {
        #[command(subcommand)]
        verb: SettingsVerb,
    },
    /// Take over users, identities, sessions and factors from a dump of Supabase's schema `auth`.
    ///
    /// A plain dump: `pg_dump --schema=auth`, whole or --data-only, with COPY or INSERT. What exists already stays.
    Import {
        /// The project's short name.
        reference: String,
        /// The dump; `-` is standard input.
        file: PathBuf,
    },
    /// Show how a mail looks: `confirmation`, `invite`, `magic_link`, `recovery`, `email_change` or `reauthentication`.
    Mail {
        /// The project's short name.
        reference: String,
        /// Which mail.
        name: String,
        /// Try this subject instead of the stored one.
        #[arg(long)]
        subject: Option<String>,
        /// Try the body in this file instead of the stored one.
        #[arg(long, value_name = "FILE")]
        content: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// List the keys that sign tokens.
    List {
        /// The project's short name.
        reference: String,
    },
    /// Make a standby key: published at once, it signs after the next `rotate`.
    Prepare {
        /// The project's short name.
        reference: String,
        /// ES256, RS256 or HS256.
        #[arg(long, default_value = "ES256")]
        algorithm: String,
        /// Take over the private JWK in this file, or the first of a list there, instead of making one; `-` is standard
        /// input.
        #[arg(long, value_name = "FILE", conflicts_with = "algorithm")]
        jwk: Option<PathBuf>,
    },
    /// Let the standby key sign from now on; without one, make it and say when to come back.
    Rotate {
        /// The project's short name.
        reference: String,
        /// Do not wait until everybody who keeps the key set knows the new key.
        #[arg(long)]
        now: bool,
    },
    /// Refuse what a previous key signed.
    Revoke {
        /// The project's short name.
        reference: String,
        /// The key's name.
        kid: String,
    },
    /// Make new `sb_publishable_…` and `sb_secret_…` keys; the old ones stop at once.
    Replace {
        /// The project's short name.
        reference: String,
        /// Instead, a new JWT secret with new `anon` and `service_role` keys; whatever the old secret signed stops.
        #[arg(long)]
        jwt_secret: bool,
        /// Take over the JWT secret in this file, that of a project elsewhere; `-` is standard input.
        #[arg(long, value_name = "FILE", requires = "jwt_secret")]
        from: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsVerb {
    /// Show all settings, or one; secrets are left out.
    Get {
        /// The project's short name.
        reference: String,
        /// `site_url`, `smtp.host`, `rest.db-max-rows`, …
        name: Option<String>,
    },
    /// Change settings.
    Set {
        /// The project's short name.
        reference: String,
        /// `name=value`; the value is JSON or text, `@file` reads it from a file: secrets do not belong on a command line.
        #[arg(required_unless_present = "file", value_name = "NAME=VALUE")]
        fields: Vec<String>,
        /// Take a whole change as JSON from this file: `{"auth": {…}, "rest": {…}}`; `-` is standard input.
        #[arg(long, conflicts_with = "fields")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(flatten)]
    pub(crate) control: Control,
    #[command(subcommand)]
    pub(crate) verb: ClusterVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// List the nodes, how they are and what they have to do.
    Nodes,
    /// Make a token that lets one node join, once.
    JoinToken {
        /// What the node will be: proxy or worker.
        #[arg(long)]
        role: String,
        /// Seconds that the token holds.
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        ttl: u32,
    },
    /// Let a node finish what it has and stop; it gets nothing new from now on.
    Drain {
        /// The node, as `nodes` lists it.
        id: String,
    },
    /// Forget a node: it gets no more requests, and comes back by a new token only.
    Remove {
        /// The node, as `nodes` lists it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say everything that is wrong with the settings of a role. Exit code 1 when something is.
    Check {
        /// The role.
        role: Role,
        /// The flags that it would be started with.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        arguments: Vec<OsString>,
    },
    /// Show every setting of a role with its value and where that comes from; secrets are hidden.
    Show {
        /// The role.
        role: Role,
        /// The flags that it would be started with.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Run this part only: fmt, clippy, cargo, doc, deny, tidy, system or clients.
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<crate::commands::TestPart>,
    /// Let the random tests run for minutes rather than seconds.
    #[arg(long)]
    pub(crate) long: bool,
}
