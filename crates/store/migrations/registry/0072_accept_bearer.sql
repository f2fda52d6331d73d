-- The classes for which a server takes tokens without a proof of possession. Absent: none.
ALTER TABLE servers ADD COLUMN accept_bearer TEXT;
