// What the gateway makes of a file before anything is added: the first datapoints, what has to be mended, what nearly repeats.
import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { request, type Schemas, upload } from "../../api/client";
import type { operations } from "../../api/schema";
import { save } from "../../trail/names";
import { Button } from "../../ui/button";
import { ErrorNote, Note, Waiting } from "../../ui/feedback";
import { count, plural } from "../../ui/text";
import { asCsv } from "./rejected";

export type Format = operations["ingest"]["parameters"]["query"]["format"];
type Examination = Schemas["Examination"];

const ENDINGS: [RegExp, Format][] = [
  [/\.(jsonl|ndjson)$/i, "jsonl"],
  [/\.csv$/i, "csv"],
  [/\.parquet$/i, "parquet"],
  [/\.(md|markdown)$/i, "markdown"],
  [/\.txt$/i, "text"],
  [/\.html?$/i, "html"],
  [/\.docx$/i, "docx"],
  [/\.pdf$/i, "pdf"],
  [/\.(index|dict|dict\.dz)$/i, "dictd"],
];

/** The format that the files' names speak of. */
export function formatOf(files: File[]): Format | undefined {
  const name = files[0]?.name ?? "";
  return ENDINGS.find(([ending]) => ending.test(name))?.[1];
}

/** Sends files somewhere with what is said of them. */
export async function send(path: string, files: File[], query: URLSearchParams): Promise<unknown> {
  const form = upload(files.map((file) => ({ name: file.name, content: file })));
  return (await request(`${path}?${query}`, { method: "POST", body: form })).json();
}

/** Reads files as adding them would. Large ones only when asked to, for they are sent once more then. */
export function useExamination(datanet: string, files: File[], query: URLSearchParams) {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  return useQuery({
    queryKey: [
      "examine",
      datanet,
      files.map((file) => [file.name, file.size, file.lastModified]),
      query.toString(),
    ],
    queryFn: () =>
      send(`/v1/datanets/${encodeURIComponent(datanet)}/examine`, files, query) as Promise<Examination>,
    enabled: files.length > 0 && size <= AT_ONCE,
    placeholderData: (before, query) =>
      query?.queryKey[1] === datanet && files.length > 0 ? before : undefined,
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

const AT_ONCE = 16 * 1024 * 1024;
const SHOWN = 10;

export function Preview({ found }: { found: ReturnType<typeof useExamination> }) {
  if (found.error) return <ErrorNote error={found.error} />;
  const { data } = found;
  if (!data) {
    if (found.isFetching) return <Waiting />;
    return (
      <div className="row">
        <Button small onClick={() => found.refetch()}>
          Check the file now
        </Button>
        <span className="quiet small">It is large; it is checked in any case before anything is added.</span>
      </div>
    );
  }
  return (
    <div className="stack-s" aria-busy={found.isFetching}>
      <p>
        {plural(data.read, "datapoint")}: <strong>{data.new}</strong> new, {data.duplicates} there already.
      </p>
      {data.first.length > 0 && (
        <ul className="preview" aria-label="The first datapoints">
          {data.first.map((row, place) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: an id may be missing, and rows of a preview never move
            <li key={place}>
              <p className="preview-text">{row.text}</p>
              <p className="quiet small">
                {[
                  row.contributor && `contributor: ${row.contributor}`,
                  row.licence && `licence: ${row.licence}`,
                ]
                  .filter(Boolean)
                  .join(" · ")}
              </p>
            </li>
          ))}
        </ul>
      )}
      {data.rejected_total > 0 && <Rejected rows={data.rejected} total={data.rejected_total} />}
      <Near duplicates={data.near_duplicates} total={data.near_duplicates_total} />
    </div>
  );
}

/** Every row that has to be mended, as far as the gateway names them, and the same as a file to work from. */
export function Rejected({ rows, total }: { rows: Schemas["Rejection"][]; total: number }) {
  return (
    <Note tone="warn">
      <div className="row row-wrap">
        <p>
          {plural(total, "datapoint")} to mend
          {total > rows.length ? `; the first ${count(rows.length)}:` : ":"}
        </p>
        <Button small className="push" onClick={() => save(asCsv(rows), "rejected-rows.csv", "text/csv")}>
          <Download size={14} aria-hidden />
          Download the list
        </Button>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <ul className="rejected" aria-label="Rows to mend" tabIndex={0}>
        {rows.map((one, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a line may be named twice, and the list never moves
          <li key={place}>
            {one.line > 0 && `Line ${one.line}: `}
            {one.reason}
          </li>
        ))}
      </ul>
    </Note>
  );
}

/** Datapoints that nearly repeat others. */
export function Near({ duplicates, total }: { duplicates: Schemas["NearDuplicate"][]; total: number }) {
  if (total === 0) return null;
  return (
    <Note>
      <p>
        {total === 1 ? "1 datapoint nearly repeats another:" : `${total} datapoints nearly repeat others:`}
      </p>
      <ul>
        {duplicates.slice(0, SHOWN).map((one) => (
          <li key={one.id}>
            {one.id} repeats {one.of} ({Math.round(one.similarity * 100)} %)
          </li>
        ))}
      </ul>
    </Note>
  );
}
