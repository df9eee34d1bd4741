// Search inside a datanet, with the scores that an answer would have chosen by.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Search as SearchIcon } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { Scores } from "../../trail/scores";
import { Button } from "../../ui/button";
import { Empty, ErrorNote, Spinner, Waiting } from "../../ui/feedback";
import { Segments } from "../../ui/field";
import { DatapointCard } from "./datapoint-card";
import "../../trail/trail.css";

type Mode = Schemas["RetrievalMode"];

export function Search({ datanet }: { datanet: Schemas["Datanet"] }) {
  const [text, setText] = useState("");
  const [query, setQuery] = useState("");
  const [mode, setMode] = useState<Mode>("hybrid");
  const { data, error, isFetching } = useQuery({
    queryKey: ["search", datanet.name, query, mode, datanet.snapshot.root],
    queryFn: async () => {
      const wanted = { query, datanets: [datanet.name], top_k: 20, mode };
      return body(await api.POST("/v1/search", { body: wanted })).data;
    },
    enabled: query !== "",
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setQuery(text.trim());
  };
  const best = Math.max(1, ...(data ?? []).map(({ why }) => why.text_score ?? 0));
  return (
    <div className="stack">
      <search>
        <form className="search" onSubmit={submit}>
          <input
            className="input"
            type="search"
            aria-label={`Search ${datanet.name}`}
            placeholder="Words, or a question"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <Button type="submit" look="primary" disabled={!text.trim()}>
            {isFetching ? <Spinner /> : <SearchIcon size={16} aria-hidden />}
            Search
          </Button>
          <Segments
            label="How it searches"
            value={mode}
            onChange={setMode}
            options={[
              ["hybrid", "Both"],
              ["vector", "Meaning"],
              ["full_text", "Wording"],
            ]}
          />
        </form>
      </search>
      <ErrorNote error={error} />
      {isFetching && !data && <Waiting lines={6} />}
      {data?.length === 0 && (
        <div className="card">
          <Empty title="Nothing found">Try other words, or search by meaning.</Empty>
        </div>
      )}
      {data && data.length > 0 && (
        <ul className="datapoints card" aria-label="Results">
          {data.map((candidate) => (
            <DatapointCard key={candidate.id} datapoint={candidate}>
              <div className="search-scores">
                <Scores why={candidate.why} best={best} />
              </div>
            </DatapointCard>
          ))}
        </ul>
      )}
      {query === "" && (
        <p className="quiet">
          Results come with the scores and ranks by which an answer would choose its passages.
        </p>
      )}
    </div>
  );
}
