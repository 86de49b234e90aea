{{/*
Names that other charts have for values of this one, from files/other-names.yaml: what each is called here,
or why there is no such value.
*/}}

{{- define "lighterage.refuse.names" -}}
{{- $messages := list -}}
{{- $names := .Files.Get "files/other-names.yaml" | fromYaml -}}
{{- range $path, $ours := $names.called -}}
{{- if include "lighterage.hasValue" (list $.Values $path) -}}
{{- $messages = append $messages (printf "%s is called %s in this chart." $path $ours) -}}
{{- end -}}
{{- end -}}
{{- range $path, $why := $names.without -}}
{{- if include "lighterage.hasValue" (list $.Values $path) -}}
{{- $messages = append $messages (printf "%s: %s. Remove it." $path $why) -}}
{{- end -}}
{{- end -}}
{{- range .Values.ingress.hosts -}}
{{- if kindIs "map" . -}}
{{- range .paths -}}
{{- $path := ternary (get (ternary . dict (kindIs "map" .)) "path") . (kindIs "map" .) -}}
{{- if not (has $path (list "/" "" nil)) -}}
{{- $messages = append $messages (printf "ingress.hosts: a registry is at the root of a host name, and not below %s. Give it a name of its own, and remove paths." $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey .Values "enabled") (not .Values.enabled) -}}
{{- $messages = append $messages "enabled: false does nothing by itself. A chart that has this one as a dependency names it there, as in condition: lighterage.enabled." -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}

{{/* Whether the values have something under a path, such as metrics.enabled. */}}
{{- define "lighterage.hasValue" -}}
{{- $here := first . -}}
{{- $found := true -}}
{{- range last . | splitList "." -}}
{{- if and $found (kindIs "map" $here) -}}
{{- $found = hasKey $here . -}}
{{- $here = get $here . -}}
{{- else -}}
{{- $found = false -}}
{{- end -}}
{{- end -}}
{{- if $found }}yes{{ end -}}
{{- end -}}
