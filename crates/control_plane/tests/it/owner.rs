//! What the owner of a project may do: what Supabase's `postgres` can, short of a superuser.

use testkit::{project, run};

use crate::{outcome, text};

#[test]
fn the_owner_builds_an_application() {
    run(async {
        let it = project("owner").await;
        let owner = it.owner().await;
        let admin = it.admin().await;
        // Stands for the storage service's table until its migrations exist.
        admin
            .batch_execute("set role supabase_storage_admin; create table storage.things (id int, name text)")
            .await
            .unwrap();
        let statements = [
            "create table public.profiles (id uuid primary key references auth.users (id) on delete cascade, name text)",
            "alter table public.profiles enable row level security",
            "create policy own on public.profiles using (auth.uid() = id)",
            "create function public.on_sign_up() returns trigger language plpgsql security definer set search_path = '' \
             as $$ begin insert into public.profiles (id) values (new.id); return new; end $$",
            "create trigger on_auth_user_created after insert on auth.users \
             for each row execute function public.on_sign_up()",
            "alter table storage.things enable row level security",
            "create policy own on storage.things for select to authenticated using (name = auth.uid()::text)",
            "create extension if not exists citext with schema extensions",
            "create schema app",
            "grant usage on schema app to anon, authenticated",
            "create type public.mood as enum ('good', 'bad')",
            "create materialized view public.counts as select count(*) from public.profiles",
            "alter publication supabase_realtime add table public.profiles",
            "notify pgrst, 'reload schema'",
            "set role authenticated; reset role; set role service_role; reset role",
            "insert into auth.users (id, email) values ('00000000-0000-0000-0000-000000000001', 'a@b.c')",
        ];
        for statement in statements {
            assert_eq!(outcome(&owner, statement).await, "ok", "{statement}");
        }
        assert_eq!(text(&owner, "select count(*)::text from public.profiles").await, "1");
    });
}

#[test]
fn a_sign_up_by_the_service_fires_the_owners_trigger() {
    run(async {
        let it = project("trigger").await;
        it.owner()
            .await
            .batch_execute(
                "create table public.log (id uuid);
                 create function public.note() returns trigger language plpgsql security definer as
                    $$ begin insert into public.log values (new.id); return new; end $$;
                 create trigger noted after insert on auth.users for each row execute function public.note()",
            )
            .await
            .unwrap();
        let services = testkit::connect(&it.project.database, &it.project.logins.services).await.unwrap();
        let insert = "insert into auth.users (id) values ('00000000-0000-0000-0000-000000000002')";
        assert_eq!(outcome(&services, insert).await, "ok");
        assert_eq!(text(&it.owner().await, "select count(*)::text from public.log").await, "1");
    });
}

#[test]
fn an_owner_turns_features_of_the_data_api_on() {
    run(async {
        // The default project's owner does it by name, whatever the version of PostgreSQL.
        let plane = testkit::control_plane().await;
        let default = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
        let owner = testkit::connect(&default.database, &default.logins.owner).await.unwrap();
        let name = &default.logins.authenticator.user;
        let set = format!("alter role {name} set pgrst.db_aggregates_enabled = 'true'");
        let reset = format!("alter role {name} reset pgrst.db_aggregates_enabled");
        assert_eq!(outcome(&owner, &set).await, "ok");
        assert_eq!(outcome(&owner, "notify pgrst, 'reload config'").await, "ok");
        assert_eq!(outcome(&owner, &reset).await, "ok");

        // Others become the authenticator first: by name it takes CREATEROLE, which on 15 would reach all projects.
        let it = project("features").await;
        let (owner, name) = (it.owner().await, &it.project.logins.authenticator.user);
        let set =
            format!("set role {name}; alter role {name} set pgrst.db_plan_enabled = 'true'; reset role");
        assert_eq!(outcome(&owner, &set).await, "ok");
    });
}
