{{/* Rejects combinations of values that cannot work; each message says what to do. The schema rejects the rest. */}}

{{- define "lighterage.refuse" -}}
{{- $values := .Values -}}
{{- $config := $values.config | default dict -}}
{{- $messages := list -}}

{{- if not (or $values.image.registry (($values.global | default dict).imageRegistry)) -}}
{{- $messages = append $messages (printf "image.registry is empty, so nodes would pull somebody else's %s from Docker Hub. Push the image to a registry of yours and name it, as in image.registry: registry.example.org. For an image that is loaded into the nodes, it is docker.io/library." $values.image.repository) -}}
{{- end -}}

{{- range $section, $where := dict "listen" "listenHost and service.port" "admin" "adminService.port, adminService.hosts and adminService.existingSecret" "data" "storage" "workers" "replicas" "tls" "tls.existingSecret" -}}
{{- if hasKey $config $section -}}
{{- $messages = append $messages (printf "config.%s is set by the chart: remove it, and use %s." $section $where) -}}
{{- end -}}
{{- end -}}

{{- if and (include "lighterage.peers.isOn" .) (not (include "lighterage.peers.secret" .)) -}}
{{- $messages = append $messages "peers.secret names no Secret: replicas that are one cache share a secret. Set peers.secret.create or peers.secret.existingSecret, or peers.enabled to false." -}}
{{- end -}}

{{- with $values.shutdown.terminationGracePeriodSeconds -}}
{{- if le (int64 .) (int64 $values.shutdown.preStopSeconds) -}}
{{- $messages = append $messages "shutdown.terminationGracePeriodSeconds ends before the pod begins to shut down: make it longer than shutdown.preStopSeconds and config.shutdown.grace together, or null." -}}
{{- end -}}
{{- end -}}

{{- if and $values.existingConfigMap $config -}}
{{- $messages = append $messages "config and existingConfigMap: only one of them can be the settings. Remove the other." -}}
{{- end -}}
{{- if and (dig "conversion" "signing_key_file" "" $config) $values.signingKey.existingSecret -}}
{{- $messages = append $messages "config.conversion.signing_key_file and signingKey.existingSecret: only one can be the key. Remove the other." -}}
{{- end -}}

{{- $settings := include "lighterage.settings" . | fromYaml -}}
{{- $size := include "lighterage.mebibytes" $values.storage.size | int64 -}}
{{- if lt $size 100 -}}
{{- $messages = append $messages (printf "storage.size: %s is too small. Give it a unit, such as 100Gi." $values.storage.size) -}}
{{- end -}}
{{- $bucket := eq $values.storage.layout "bucket" -}}
{{- $blobs := ternary "0" (dig "blobs" "max_size" "0" $settings) $bucket | include "lighterage.mebibytes" | int64 -}}
{{- $spool := include "lighterage.mebibytes" $settings.limits.spool | int64 -}}
{{- if and $bucket (gt $spool $size) -}}
{{- $messages = append $messages (printf "config.limits.spool is %d MiB, but storage.size, which holds transfers until they are in the bucket, is %d MiB. Change one of them." $spool $size) -}}
{{- else if gt (add $blobs $spool) $size -}}
{{- $messages = append $messages (printf "config.blobs.max_size and config.limits.spool are %d MiB together, and storage.size is %d MiB: the disk would be full before blobs are evicted. Make storage.size larger, or one of the others smaller." (add $blobs $spool) $size) -}}
{{- end -}}

{{- $alerts := list -}}
{{- range .Files.Get "files/alerts.yaml" | fromYamlArray }}{{ $alerts = append $alerts .alert }}{{ end -}}
{{- range $values.metrics.prometheusRule.disabled -}}
{{- if not (has . $alerts) -}}
{{- $messages = append $messages (printf "metrics.prometheusRule.disabled: there is no alert %s. The alerts are %s." . (join ", " $alerts)) -}}
{{- end -}}
{{- end -}}

{{- range $name, $_ := $values.global -}}
{{- if and (regexMatch "(?i)^imag.*reg|registr" $name) (ne $name "imageRegistry") -}}
{{- $messages = append $messages (printf "global.%s: there is no such value. Did you mean global.imageRegistry?" $name) -}}
{{- end -}}
{{- end -}}

{{- range $part := list "names" "release" "storage" "access" "bucket" "redis" "upstreams" "network" -}}
{{- $messages = concat $messages (include (printf "lighterage.refuse.%s" $part) $ | fromYamlArray) -}}
{{- end -}}

{{- with $messages -}}
{{- fail (printf "\n\n%s\n" (join "\n\n" .)) -}}
{{- end -}}
{{- end -}}
