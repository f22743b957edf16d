"""Realtime by supabase-py, which speaks protocol 1.0.0: broadcast, presence, changes, private channels, lost workers."""

import asyncio
import time
import uuid

from realtime import RealtimeSubscribeStates

from world import PROXY, Case, room, sql, token_of, worker


def broadcast(**options) -> dict:
    return {"config": {"broadcast": {"ack": False, "self": False} | options, "presence": {"key": "", "enabled": False}, "private": False}}


def heard(channel, event: str = "*") -> list[dict]:
    """All broadcasts of a channel as they come."""
    messages = []
    channel.on_broadcast(event, messages.append)
    return messages


class Broadcast(Case):
    async def test_messages_reach_both_workers_in_order_but_not_their_sender(self):
        topic = room()
        channels = [(await self.at(place)).channel(topic) for place in (0, 0, 1)]
        own, near, far = [heard(it, "said") for it in channels]
        for it in channels:
            await self.joined(it)
        sent = [{"number": it, "text": "grüß 👋 dich", "nested": {"list": [1, None]}} for it in range(100)]
        for it in sent:
            await channels[0].send_broadcast("said", it)
        await channels[0].send_broadcast("whispered", {})
        for messages in (near, far):
            await self.until("all come", lambda: len(messages) >= len(sent))
            self.assertEqual([it["payload"] for it in messages], sent)
        self.assertEqual(own, [])

    async def test_a_sender_that_asks_for_it_gets_its_own(self):
        channel = (await self.at(1)).channel(room(), broadcast(self=True, ack=True))
        messages = heard(channel)
        await self.joined(channel)
        await channel.send_broadcast("said", {"mine": True})
        await self.until("it comes", lambda: messages)
        self.assertEqual((messages[0]["event"], messages[0]["payload"]), ("said", {"mine": True}))

    async def test_rest_and_sql_reach_subscribers(self):
        topic = room()
        channel = (await self.at(1)).channel(topic)
        messages = heard(channel)
        await self.joined(channel)
        await (await self.at(PROXY)).channel(topic).http_send("said", {"by": "rest"})
        await self.until("REST comes", lambda: messages)
        self.assertEqual(messages[0]["payload"], {"by": "rest"})

        def ask() -> bool:
            sql(f"select realtime.send('{{\"by\": \"sql\"}}', 'said', '{topic}', false)")
            return any(it["payload"].get("by") == "sql" for it in messages)

        await self.until("SQL comes", ask)


class Private(Case):
    async def test_a_policy_lets_in_and_keeps_out(self):
        member, topic = str(uuid.uuid4()), room("py")
        sql(f"""create policy "py {topic}" on realtime.messages for select to authenticated
                using (realtime.topic() = '{topic}' and auth.uid() = '{member}')""")
        options = broadcast() | {}
        options["config"]["private"] = True
        inside = (await self.at(0, token_of(member))).channel(topic, options)
        messages = heard(inside)
        await self.joined(inside)
        outside = (await self.at(1, token_of(str(uuid.uuid4())))).channel(topic, options)
        state, error = (await self.subscribe(outside))[0]
        self.assertEqual(state, RealtimeSubscribeStates.CHANNEL_ERROR)
        self.assertIn("Unauthorized", str(error))

        def ask() -> bool:
            sql(f"select realtime.send('{{\"n\": 1}}', 'said', '{topic}', true)")
            return bool(messages)

        await self.until("SQL comes", ask)

    async def test_a_token_that_runs_out_ends_the_channel(self):
        client = await self.at(0, token_of(str(uuid.uuid4()), exp=int(time.time()) + 6))
        states = await self.subscribe(client.channel(room()))
        self.assertEqual(states[0][0], RealtimeSubscribeStates.SUBSCRIBED)
        await self.until("it ends", lambda: len(states) > 1, 30)

    async def test_a_refreshed_token_keeps_it(self):
        user = str(uuid.uuid4())
        client = await self.at(1, token_of(user, exp=int(time.time()) + 6))
        channel = client.channel(room())
        messages = heard(channel)
        states = await self.subscribe(channel)
        await client.realtime.set_auth(token_of(user))
        ended = await self.subscribe((await self.at(1, token_of(user, exp=int(time.time()) + 6))).channel(room()))
        await self.until("another's ends", lambda: len(ended) > 1, 30)
        await (await self.at(0)).channel(channel.topic.removeprefix("realtime:")).http_send("said", {"n": 1})
        await self.until("it goes on", lambda: messages)
        self.assertEqual([it[0] for it in states], [RealtimeSubscribeStates.SUBSCRIBED])


class Presence(Case):
    async def test_members_of_both_workers_see_each_other_come_and_go(self):
        topic, told = room(), []

        async def member(place: int, key: str):
            options = broadcast()
            options["config"]["presence"] = {"key": key, "enabled": True}
            channel = (await self.at(place)).channel(topic, options)
            channel.on_presence_join(lambda name, *_: told.append((key, "join", name)))
            channel.on_presence_leave(lambda name, *_: told.append((key, "leave", name)))
            return await self.joined(channel)

        ada, bob = await member(0, "ada"), await member(1, "bob")
        await ada.track({"n": 1})
        await bob.track({"n": 2})
        for it in (ada, bob):
            await self.until("both are seen", lambda: sorted(it.presence_state()) == ["ada", "bob"])
            self.assertEqual([meta["n"] for meta in it.presence_state()["bob"]], [2])
        await bob.untrack()
        for it in (ada, bob):
            await self.until("one is gone", lambda: list(it.presence_state()) == ["ada"])
        await ada.socket.close()
        await self.until("nobody is left", lambda: not bob.presence_state())
        self.assertIn(("ada", "leave", "bob"), told)
        self.assertIn(("bob", "leave", "ada"), told)


class Changes(Case):
    @classmethod
    def setUpClass(cls):
        sql("""set client_min_messages = warning;
               drop table if exists py_notes;
               create table py_notes (id int primary key, owner uuid, text text, rank int, tags text[], details jsonb);
               alter table py_notes enable row level security;
               alter table py_notes replica identity full;
               create policy own on py_notes for select to authenticated using (owner = auth.uid());
               grant select on py_notes to authenticated;
               alter publication supabase_realtime add table py_notes""")

    async def test_two_users_see_their_own_rows_by_event_and_filter(self):
        ada, bob = str(uuid.uuid4()), str(uuid.uuid4())
        adas = await self.watching((await self.at(0, token_of(ada))).channel(room()), "*", "py_notes")
        high = await self.watching((await self.at(1, token_of(ada))).channel(room()), "INSERT", "py_notes", "rank=gt.5")
        bobs = await self.watching((await self.at(1, token_of(bob))).channel(room()), "*", "py_notes")
        sql(f"""insert into py_notes values (1, '{ada}', 'low', 1, '{{a,b}}', '{{"deep": [1]}}'), (2, '{bob}', 'his', 9, null, null),
                (3, '{ada}', 'high', 9, null, null)""")
        sql("update py_notes set text = 'lower' where id = 1")
        sql("delete from py_notes where id = 2")
        await self.until("hers come", lambda: len(adas) >= 3)
        await self.until("his come", lambda: len(bobs) >= 2)
        self.assertEqual([(it["type"], it["record"]["text"]) for it in adas[:3]],
                         [("INSERT", "low"), ("INSERT", "high"), ("UPDATE", "lower")])
        self.assertEqual((adas[0]["record"]["id"], adas[0]["record"]["details"]), (1, {"deep": [1]}))
        self.assertEqual([it["record"]["id"] for it in high], [3])
        self.assertEqual((bobs[0]["record"]["id"], bobs[1]["type"]), (2, "DELETE"))
        self.assertEqual(bobs[1]["old_record"], {"id": 2})


class Workers(Case):
    async def asyncTearDown(self) -> None:
        await super().asyncTearDown()
        for it in (0, 1):
            await asyncio.to_thread(worker, it, "start")

    async def lose_both(self, signal: str) -> None:
        user, topic = str(uuid.uuid4()), room()
        sql("""create table if not exists py_logs (id serial primary key, owner uuid, text text);
               alter table py_logs enable row level security;
               drop policy if exists own on py_logs;
               create policy own on py_logs for select to authenticated using (owner = auth.uid());
               grant select on py_logs to authenticated;
               do $$ begin alter publication supabase_realtime add table py_logs; exception when duplicate_object then end $$""")
        client = await self.at(PROXY, token_of(user))
        channel = client.channel(topic)
        messages = heard(channel)
        changes = await self.watching(channel, "INSERT", "py_logs")
        for gone in (0, 1):
            await asyncio.to_thread(worker, gone, signal)
            sent, seen = len(messages), len(changes)
            other = (await self.at(1 - gone)).channel(topic)

            async def ask() -> bool:
                if not channel.is_joined:
                    return False
                await other.http_send("said", {"gone": gone})
                sql(f"insert into py_logs (owner, text) values ('{user}', 'after {gone}'), (gen_random_uuid(), 'foreign')")
                return len(messages) > sent and len(changes) > seen

            await self.until("broadcasts and changes come again", ask, 60)
            self.assertEqual({it["record"]["text"] for it in changes[seen:]}, {f"after {gone}"})
            await asyncio.to_thread(worker, gone, "start")

    async def test_a_terminated_workers_clients_come_back_with_all_they_had(self):
        await self.lose_both("TERM")

    async def test_a_killed_workers_clients_come_back_with_all_they_had(self):
        await self.lose_both("KILL")
