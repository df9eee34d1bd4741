// Under a list that is read a page at a time: the next page.
import { Button } from "./button";

interface Listed {
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  fetchNextPage: () => Promise<unknown>;
}

export function More({ list, of }: { list: Listed; of: string }) {
  if (!list.hasNextPage) return null;
  return (
    <Button disabled={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
      Show more {of}
    </Button>
  );
}
