"""The SQL of baselines: what is read is written anew; what is not structure and rows is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.baselines import sql
from wizard.baselines.sql import Raw, Row, SqlError, Table

POSTS = """CREATE TABLE `baseline_posts` (
  `ID` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `title` text COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT 'it''s',
  `at` datetime NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  `facts` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`facts`)),
  `kind` enum('a','b') DEFAULT NULL,
  PRIMARY KEY (`ID`),
  KEY `title` (`title`(191),`at`),
  FULLTEXT KEY `words` (`title`),
  CONSTRAINT `fk` FOREIGN KEY (`ID`) REFERENCES `baseline_terms` (`id`) ON DELETE SET NULL
) ENGINE=InnoDB AUTO_INCREMENT=4711 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
"""  # noqa: E501


def test_a_table_is_written_anew_for_another_prefix_without_its_past() -> None:
    (table,) = sql.read(POSTS, "baseline_")
    assert isinstance(table, Table)
    written = table.written("wp1_")
    assert written.startswith("CREATE TABLE `wp1_posts` (\n  `ID` bigint(20) unsigned NOT NULL")
    assert "REFERENCES `wp1_terms`" in written
    assert "4711" not in written
    assert "baseline_" not in written
    assert list(sql.read(written, "wp1_")) == [table]


@given(
    st.lists(
        st.none()
        | st.text(st.characters(exclude_categories=["Cs"]))
        | st.integers().map(lambda n: Raw(str(n)))
        | st.binary().map(lambda b: Raw("0xff" + b.hex())),
        min_size=1,
        max_size=6,
    )
)
def test_every_value_survives(values: list[sql.Value]) -> None:
    row = Row("t", tuple(f"c{n}" for n in range(len(values))), tuple(values))
    written = row.written("p_")
    assert written.count("\n") == 1, "a row is a line"
    (again,) = sql.read(written, "p_")
    assert again == row
    assert isinstance(again, Row)
    assert [type(v) for v in again.values] == [type(v) for v in row.values]


HOSTILE = {
    "a trigger": "CREATE TRIGGER `x` BEFORE INSERT ON `baseline_posts` FOR EACH ROW SET @a = 1;",
    "a procedure": "CREATE PROCEDURE `x`() SELECT 1;",
    "a definer": "CREATE DEFINER=`root`@`%` VIEW `baseline_v` AS SELECT 1;",
    "a view": "CREATE VIEW `baseline_v` AS SELECT 1;",
    "an event": "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DO DELETE FROM x;",
    "loading a file": "LOAD DATA INFILE '/etc/passwd' INTO TABLE `baseline_posts`;",
    "writing a file": "SELECT 1 INTO OUTFILE '/var/www/x.php';",
    "a file as value": "INSERT INTO `baseline_t` (`a`) VALUES (LOAD_FILE('/etc/passwd'));",
    "a query as value": "INSERT INTO `baseline_t` (`a`) VALUES ((SELECT 1));",
    "a query as rows": "INSERT INTO `baseline_t` (`a`) SELECT 1;",
    "a variable": "INSERT INTO `baseline_t` (`a`) VALUES (@@version);",
    "more than the row": "INSERT INTO `baseline_t` (`a`) VALUES (1) ON DUPLICATE KEY UPDATE `a`=2;",
    "another database": "INSERT INTO mysql.user (`a`) VALUES (1);",
    "another database, quoted": "INSERT INTO `mysql`.`user` (`a`) VALUES (1);",
    "a dot in a name": "INSERT INTO `baseline_t`.`user` (`a`) VALUES (1);",
    "another table": "INSERT INTO `users` (`a`) VALUES (1);",
    "an odd name": "INSERT INTO `baseline_a``b` (`a`) VALUES (1);",
    "rights": "GRANT ALL ON *.* TO x;",
    "a user": "CREATE USER x;",
    "settings": "SET GLOBAL general_log = 1;",
    "a plugin": "INSTALL PLUGIN x SONAME 'x.so';",
    "a prepared statement": "EXECUTE IMMEDIATE 'SELECT 1';",
    "another database's use": "USE `mysql`;",
    "dropping": "DROP TABLE `baseline_posts`;",
    "a comment that runs": "/*!50003 CREATE TRIGGER x */;",
    "a comment": "-- hidden\nINSERT INTO `baseline_t` (`a`) VALUES (1);",
    "a hash": "# hidden\n",
    "the client's shell": "\\! touch /tmp/x\n",
    "the client's files": "source /etc/passwd\n",
    "the client's delimiter": "DELIMITER //\n",
    "a folder of the server": "CREATE TABLE `baseline_t` (`a` int) DATA DIRECTORY='/etc';",
    "a federated table": "CREATE TABLE `baseline_t` (`a` int) ENGINE=FEDERATED;",
    "a connection": "CREATE TABLE `baseline_t` (`a` int) ENGINE=CONNECT;",
    "a csv file": "CREATE TABLE `baseline_t` (`a` int) ENGINE=CSV;",
    "a union of tables": "CREATE TABLE `baseline_t` (`a` int) ENGINE=MRG_MyISAM;",
    "a table like another": "CREATE TABLE `baseline_t` LIKE `mysql`.`user`;",
    "a table of a query": "CREATE TABLE `baseline_t` (`a` int) AS SELECT 1;",
    "a function as default": "CREATE TABLE `baseline_t` (`a` int DEFAULT (sleep(9)));",
    "a computed column": "CREATE TABLE `baseline_t` (`a` int AS (sleep(9)));",
    "a foreign table": "CREATE TABLE `baseline_t` (`a` int REFERENCES `mysql` (`x`));",
    "partitions": "CREATE TABLE `baseline_t` (`a` int) PARTITION BY HASH(`a`);",
    "a temporary table": "CREATE TEMPORARY TABLE `baseline_t` (`a` int);",
    "an open text": "INSERT INTO `baseline_t` (`a`) VALUES ('x",
    "an open table": "CREATE TABLE `baseline_t` (`a` int",
    "bytes that are no default": "CREATE TABLE `baseline_t` (`a` int COMMENT x'00');",
    "too few values": "INSERT INTO `baseline_t` (`a`,`b`) VALUES (1);",
    "bytes": "INSERT INTO `baseline_t` (`a`) VALUES (1\0);",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_all_else_is_refused_with_its_line(what: str) -> None:
    with pytest.raises(SqlError, match=r"line \d+: "):
        list(sql.read(POSTS + HOSTILE[what], "baseline_"))


def test_a_column_may_have_bytes_as_its_default() -> None:
    (table,) = sql.read("CREATE TABLE `baseline_t` (`a` binary(2) DEFAULT x'00ff');", "baseline_")
    assert "DEFAULT x'00ff'" in table.written("baseline_")


def test_a_binary_value_that_is_a_text_is_read_as_one() -> None:
    mail = b"jo@shop.test".hex()
    line = f"INSERT INTO `baseline_kept` (`a`,`b`,`c`) VALUES (0x{mail},0x00{mail},0xfffe);"
    (row,) = sql.read(line, "baseline_")
    assert isinstance(row, Row)
    assert row.values == ("jo@shop.test", Raw(f"0x00{mail}"), Raw("0xfffe"))
    changed = row.mapped(lambda text: text.replace("shop.test", "new.test"))
    assert "jo@new.test" in changed.written("baseline_")
