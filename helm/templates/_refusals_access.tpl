{{/* Messages about values for access that cannot work. */}}

{{- define "lighterage.refuse.access" -}}
{{- $values := .Values -}}
{{- $access := get ($values.config | default dict) "access" | default dict -}}
{{- $messages := list -}}
{{- $modes := list (get $access "mode" | default "open") -}}
{{- range $access.rules }}{{ $modes = append $modes .mode }}{{ end -}}
{{- if and (has "basic" $modes) (not (or $values.access.htpasswd.existingSecret $access.htpasswd_file $access.issuers $values.access.clientCaSecret)) -}}
{{- $messages = append $messages "config.access has rules with mode: basic. Name the Secret with their users in access.htpasswd.existingSecret, or set config.access.issuers or access.clientCaSecret." -}}
{{- end -}}
{{- if and $values.access.clientCaSecret (not $values.tls.existingSecret) -}}
{{- $messages = append $messages "access.clientCaSecret: clients show certificates only where the proxy itself serves TLS. Set tls.existingSecret." -}}
{{- end -}}
{{- if not $values.existingConfigMap }}{{ toYaml $messages }}{{ else }}{{ toYaml list }}{{ end -}}
{{- end -}}
