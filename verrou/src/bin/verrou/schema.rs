//! `verrou schema`: the statement that creates the table.

use verrou::drivers::{MySqlStore, PostgresStore, SqliteStore};

use crate::args::{Database, Schema, Target};
use crate::exit::{Code, Failure};
use crate::output::print;

pub(crate) fn schema(target: &Target, options: &Schema) -> Result<Code, Failure> {
    let statement = match (options.database, target.table.as_deref()) {
        (Database::Postgres, Some(table)) => PostgresStore::schema_sql_for(table)?,
        (Database::Postgres, None) => PostgresStore::schema_sql(),
        (Database::Mysql, Some(table)) => MySqlStore::schema_sql_for(table)?,
        (Database::Mysql, None) => MySqlStore::schema_sql(),
        (Database::Sqlite, Some(table)) => SqliteStore::schema_sql_for(table)?,
        (Database::Sqlite, None) => SqliteStore::schema_sql(),
    };
    print(&format!("{statement};\n"))?;
    Ok(Code::DONE)
}
