-- The rights of the database user that a serving broker uses. Run it as the owner of the tables, in
-- the broker's database, after `broker init --store` or `broker migrate` and after every update of
-- the program that brought new tables:
--   psql --file=deploy/postgres/grants.sql "postgres://owner@HOST/DATABASE"
-- The user is made once: CREATE ROLE blindcart_broker LOGIN PASSWORD '...';
-- It cannot change or delete an account's name, an order's terms, a transfer, an entry, an answer, a
-- token, a certificate, a revocation or who gets no certificates, and nobody can in its name.
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO blindcart_broker;
REVOKE INSERT ON schema_migrations, counters FROM blindcart_broker;
GRANT UPDATE (balance_minor, pin_failures, pin_blocked_until_ms) ON accounts TO blindcart_broker;
GRANT UPDATE (login_failures, login_blocked_until_ms) ON customers TO blindcart_broker;
GRANT UPDATE (status, paid_at_ms, transfer_id, receipt) ON orders TO blindcart_broker;
GRANT UPDATE ON counters, meta, mail_keys, mailboxes, revocation_list, listeners TO blindcart_broker;
GRANT DELETE ON notices, mail, mail_ids, mail_pre_keys, listeners TO blindcart_broker;
