// Lists that are read a page at a time: the pages so far, as one list, and whether there are more.
import { infiniteQueryOptions } from "@tanstack/react-query";

interface Page<T> {
  data: T[];
  has_more?: boolean;
}

/** A list under a key; `read` asks for what comes after an id. */
export function paged<T extends { id: string }, K extends readonly unknown[]>(
  queryKey: K,
  read: (query: { after?: string }) => Promise<Page<T>>,
) {
  return infiniteQueryOptions({
    queryKey,
    queryFn: ({ pageParam }) => read(pageParam ? { after: pageParam } : {}),
    initialPageParam: "",
    getNextPageParam: (page: Page<T>) => (page.has_more ? page.data.at(-1)?.id : undefined),
    select: ({ pages }) => pages.flatMap((page) => page.data),
  });
}
