/** A column of a table: its title, on the right over numbers, or only for screen readers. */
export type Column = string | { number: string } | { hidden: string };

/** The head of a table. */
export function TableHead({ columns }: { columns: Column[] }) {
  return (
    <thead>
      <tr>
        {columns.map((column) => {
          if (typeof column === "string") {
            return (
              <th key={column} scope="col">
                {column}
              </th>
            );
          }
          if ("number" in column) {
            return (
              <th key={column.number} scope="col" className="number">
                {column.number}
              </th>
            );
          }
          return (
            <th key={column.hidden} scope="col">
              <span className="hidden-visually">{column.hidden}</span>
            </th>
          );
        })}
      </tr>
    </thead>
  );
}
